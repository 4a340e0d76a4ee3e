{{/* What all pods have in common: they meet the restricted Pod Security Standard and write to volumes of their own only. */}}

{{/* First lines of a pod's spec. Service links would inject CELLSERVE_..._PORT, which look like settings. The security
context comes last: a pod may add to it. */}}
{{- define "cellserve.pod.base" -}}
serviceAccountName: {{ include "cellserve.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "cellserve.container.securityContext" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where pods run; takes (list . component (dict "tier" values "nodeSelector" map "tolerations" list)). */}}
{{- define "cellserve.pod.scheduling" -}}
{{- $labels := include "cellserve.selectorLabels" (list (index . 0) (index . 1)) }}
{{- with index . 2 }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .tier.spread }}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
    matchLabelKeys: [pod-template-hash] # pods of the old version do not push those of the new one together
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Strategy of a Deployment; takes the tier's values. */}}
{{- define "cellserve.pod.strategy" -}}
strategy:
  type: RollingUpdate
  rollingUpdate:
    {{- toYaml .rollingUpdate | nindent 4 }}
{{- end -}}

{{/* Threads of a container from its CPU limit, rounded up; takes (list variable container resources). Nothing without a
limit: the field would then be the whole node. */}}
{{- define "cellserve.container.threads" -}}
{{- if (index . 2).limits | default dict | dig "cpu" "" -}}
- name: {{ index . 0 }}
  valueFrom:
    resourceFieldRef:
      containerName: {{ index . 1 }}
      resource: limits.cpu
{{- end -}}
{{- end -}}

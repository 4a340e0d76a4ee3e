{{/* How pods of the release, clients themselves, get into its gateways. Each takes (list . access), where access has the
values caKey, tokenSecretName, tokenKey and certificateSecretName. */}}

{{- define "cellserve.gateway.address" -}}
dns:///{{ include "cellserve.gateway.name" . }}.{{ include "cellserve.domain" . }}:50051
{{- end -}}

{{/* Whether there is a token and a certificate where the gateways ask for them. */}}
{{- define "cellserve.access.admitted" -}}
{{- $root := first . -}}
{{- with last . -}}
{{- $token := or (not $root.Values.auth.tokensSecretName) .tokenSecretName -}}
{{- $certificate := or (not $root.Values.tls.clientCA.secretName) .certificateSecretName -}}
{{- if and $token $certificate -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Options before the command of `cellserve`. */}}
{{- define "cellserve.access.options" -}}
{{- $root := first . -}}
{{- with last . -}}
{{- if $root.Values.tls.enabled -}}
{{- if .caKey -}}
- --ca=/etc/cellserve/ca/{{ .caKey }}
{{- else -}}
- --tls
{{- end }}
{{- if $root.Values.tls.clientCA.secretName }}
- --certificate=/etc/cellserve/certificate/tls.crt
- --key=/etc/cellserve/certificate/tls.key
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cellserve.access.environment" -}}
{{- if (first .).Values.auth.tokensSecretName -}}
{{- with last . -}}
- name: CELLSERVE_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .tokenSecretName | quote }}
      key: {{ .tokenKey | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cellserve.access.mounts" -}}
{{- $root := first . -}}
{{- if $root.Values.tls.enabled -}}
{{- if (last .).caKey -}}
- name: ca
  mountPath: /etc/cellserve/ca
  readOnly: true
{{- end }}
{{- if $root.Values.tls.clientCA.secretName }}
- name: certificate
  mountPath: /etc/cellserve/certificate
  readOnly: true
{{- end }}
{{- end -}}
{{- end -}}

{{- define "cellserve.access.volumes" -}}
{{- $root := first . -}}
{{- with last . -}}
{{- if $root.Values.tls.enabled -}}
{{- if .caKey -}}
- name: ca # the certificate alone: the server's key is nobody else's
  secret:
    secretName: {{ $root.Values.tls.secretName | quote }}
    items:
      - {key: {{ .caKey }}, path: {{ .caKey }}}
{{- end }}
{{- if $root.Values.tls.clientCA.secretName }}
- name: certificate
  secret:
    secretName: {{ .certificateSecretName | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

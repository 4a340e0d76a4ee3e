{{/* The model repository, at /models in every container that reads it. */}}

{{/* Volume of a pod, or nothing where the images have the models. */}}
{{- define "cellserve.models.volume" -}}
{{- if eq .Values.models.source "persistentVolumeClaim" -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.models.persistentVolumeClaim.claimName | quote }}
    readOnly: true
{{- else if eq .Values.models.source "objectStorage" -}}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.models.objectStorage.sizeLimit }}
{{- end -}}
{{- end -}}

{{- define "cellserve.models.mount" -}}
{{- if ne .Values.models.source "image" -}}
- name: models
  mountPath: /models
  readOnly: true
  {{- if eq .Values.models.source "persistentVolumeClaim" }}
  {{- with .Values.models.persistentVolumeClaim.subPath }}
  subPath: {{ . | quote }}
  {{- end }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Init containers that copy the repository from object storage and verify it; takes (list . "gateway" or "triton").
A gateway in a pod of its own copies the descriptions of the models alone. */}}
{{- define "cellserve.models.initContainers" -}}
{{- $root := first . -}}
{{- $descriptions := eq (last .) "gateway" -}}
{{- $image := ternary $root.Values.gateway.image (include "cellserve.triton.profile" $root | fromJson).image $descriptions -}}
{{- if eq $root.Values.models.source "objectStorage" -}}
{{- with $root.Values.models.objectStorage -}}
- name: copy-models
  {{- include "cellserve.image" (list $root .image) | nindent 2 }}
  args:
    - copy
    - {{ .remote | quote }}
    - /models
    - --config= # all of it comes from the environment
    - --cache-dir=/tmp
    - --verbose
    {{- if $descriptions }}
    - --include=/SHA256SUMS
    - --include=/*/model.json
    {{- end }}
  env:
    - name: HOME
      value: /tmp
  {{- with .secretName }}
  envFrom:
    - secretRef:
        name: {{ . | quote }}
  {{- end }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  {{- include "cellserve.container.securityContext" $root | nindent 2 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: {{ ternary "tmp" "triton-tmp" $descriptions }}
      mountPath: /tmp
- name: verify-models
  {{- include "cellserve.image" (list $root $image) | nindent 2 }}
  command:
    - python3
    - {{ ternary "/opt/cellserve/verify_models.py" "/opt/cellserve/triton/verify_models.py" $descriptions }}
    - /models
    - --sums-sha256={{ .sha256 }}
    {{- if $descriptions }}
    - --partial
    {{- end }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  {{- include "cellserve.container.securityContext" $root | nindent 2 }}
  volumeMounts:
    - name: models
      mountPath: /models
      readOnly: true
{{- end -}}
{{- end -}}
{{- end -}}

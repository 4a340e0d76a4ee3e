{{/* Names, labels, images, and how values are written. */}}

{{- define "cellserve.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* First part of every object's name. With the longest suffix, -prometheus-adapter, it fits into 63 characters; a name
that is cut gets a part of its hash, so that releases whose names begin alike do not meet. */}}
{{- define "cellserve.fullname" -}}
{{- $name := include "cellserve.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = .Values.fullnameOverride | default $full -}}
{{- if gt (len $full) 44 -}}
{{- printf "%s-%s" (trunc 35 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{- define "cellserve.gateway.name" -}}{{ include "cellserve.fullname" . }}-gateway{{- end -}}
{{- define "cellserve.triton.name" -}}{{ include "cellserve.fullname" . }}-triton{{- end -}}

{{/* Domain of the release's Services. */}}
{{- define "cellserve.domain" -}}{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}{{- end -}}

{{/* Labels by which pods of a component are selected; takes (list . component). */}}
{{- define "cellserve.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "cellserve.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* Labels of an object; takes (list . component). */}}
{{- define "cellserve.labels" -}}
{{- $root := first . -}}
{{ include "cellserve.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cellserve
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The component whose pods Triton runs in. */}}
{{- define "cellserve.triton.component" -}}
{{- ternary "gateway" "triton" (eq .Values.topology "sidecar") -}}
{{- end -}}

{{/* The values of the chosen profile, as JSON. */}}
{{- define "cellserve.triton.profile" -}}
{{- get .Values.triton .Values.triton.profile | toJson -}}
{{- end -}}

{{- define "cellserve.serviceAccountName" -}}
{{- $default := ternary (include "cellserve.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $default -}}
{{- end -}}

{{/* Image and pull policy of a container; takes (list . image). */}}
{{- define "cellserve.image" -}}
{{- $root := first . -}}
{{- with last . -}}
image: {{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $root.Chart.AppVersion }}{{ end }}
imagePullPolicy: {{ .pullPolicy }}
{{- end -}}
{{- end -}}

{{/* A setting as an environment variable has it: numbers are floats here, and 268435456 is not to be 2.68435456e+08. */}}
{{- define "cellserve.setting" -}}
{{- ternary . (toJson .) (kindIs "string" .) | quote -}}
{{- end -}}

{{/* A ServiceMonitor of a component; takes (list . component name). `job` becomes the Service's name. */}}
{{- define "cellserve.serviceMonitor" -}}
{{- $root := first . -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ last . }}
  labels:
    {{- include "cellserve.labels" (list $root (index . 1)) | nindent 4 }}
    {{- with $root.Values.metrics.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "cellserve.selectorLabels" (list $root (index . 1)) | nindent 6 }}
  endpoints:
    - port: metrics
      path: /metrics
      interval: {{ $root.Values.metrics.serviceMonitor.interval }}
      scrapeTimeout: {{ $root.Values.metrics.serviceMonitor.scrapeTimeout }}
      relabelings:
        - targetLabel: release
          replacement: {{ $root.Release.Name | quote }}
{{- end -}}

{{/* files/rules.yaml with the selectors and runbooks of this release. Not a template: it is full of Prometheus' own. */}}
{{- define "cellserve.rules" -}}
{{- $selector := printf "namespace=%q,release=%q" .Release.Namespace .Release.Name -}}
{{- $runbooks := .Values.metrics.prometheusRule.runbookBaseUrl -}}
{{- $text := .Files.Get "files/rules.yaml" | replace `namespace="cellserve",release="cellserve"` $selector -}}
{{- $rules := $text | replace "RUNBOOK_BASE" $runbooks | fromYaml -}}
{{- if not $runbooks -}}
{{- range $rules.groups -}}
{{- range .rules -}}
{{- if .annotations -}}
{{- $_ := unset .annotations "runbook_url" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules.groups -}}
{{- end -}}

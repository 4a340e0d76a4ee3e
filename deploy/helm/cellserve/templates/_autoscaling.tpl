{{/* Pieces of both HorizontalPodAutoscalers. */}}

{{/* How fast to follow: up at once, to twice as many a minute; down by a tenth a minute, once the load has been lower
for the whole window. */}}
{{- define "cellserve.autoscaling.behavior" -}}
behavior:
  scaleUp:
    stabilizationWindowSeconds: 0
    selectPolicy: Max
    policies:
      - {type: Percent, value: 100, periodSeconds: 60}
      - {type: Pods, value: 4, periodSeconds: 60}
  scaleDown:
    stabilizationWindowSeconds: {{ .scaleDownSeconds }}
    selectPolicy: Max
    policies:
      - {type: Percent, value: 10, periodSeconds: 60}
      - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}

{{/* Time tiles wait over the time networks compute: a ratio, so it means the same on every processor and GPU. */}}
{{- define "cellserve.autoscaling.waitRatio" -}}
- type: External
  external:
    metric:
      name: cellserve_triton_wait_ratio
      selector:
        matchLabels:
          release: {{ .Release.Name | quote }}
    target:
      type: Value
      value: {{ .Values.triton.autoscaling.waitRatio | quote }}
{{- end -}}

{{/* How long pods take to start and to leave: computed from the same values, so that no time contradicts another. */}}

{{/* Seconds that a leaving Triton goes on serving. Its address is no longer in DNS, but caches may answer with it;
gateways look every second or, with hundreds of Tritons, every few (5 s). */}}
{{- define "cellserve.triton.preStopSeconds" -}}
{{- add .Values.dnsCacheSeconds 5 -}}
{{- end -}}

{{/* Seconds that Triton's launcher takes to end: its exit timeout, and 5 s until it kills what is left. */}}
{{- define "cellserve.triton.exitSeconds" -}}
{{- add .Values.triton.exitTimeoutSeconds 5 -}}
{{- end -}}

{{- define "cellserve.triton.gracePeriodSeconds" -}}
{{- add (include "cellserve.triton.preStopSeconds" .) (include "cellserve.triton.exitSeconds" .) 10 -}}
{{- end -}}

{{/* In the sidecar topology Triton ends after the gateway, within the same grace period. */}}
{{- define "cellserve.gateway.gracePeriodSeconds" -}}
{{- $exit := ternary (include "cellserve.triton.exitSeconds" . | int) 0 (eq .Values.topology "sidecar") -}}
{{- add .Values.gateway.drainDelaySeconds .Values.gateway.drainSeconds $exit 10 -}}
{{- end -}}

{{/* Seconds without progress after which a rollout counts as failed: starts may take their time, pulling images some. */}}
{{- define "cellserve.triton.progressDeadlineSeconds" -}}
{{- add (include "cellserve.triton.profile" . | fromJson).startupSeconds 600 -}}
{{- end -}}
{{- define "cellserve.gateway.progressDeadlineSeconds" -}}
{{- add .Values.gateway.startupSeconds (include "cellserve.triton.progressDeadlineSeconds" .) -}}
{{- end -}}

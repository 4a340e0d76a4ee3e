{{/* Whether `helm test` has what the gateways ask for. */}}
{{- define "cellserve.test.admitted" -}}
{{- $token := or (not .Values.auth.tokensSecretName) .Values.test.tokenSecretName -}}
{{- $certificate := or (not .Values.tls.clientCA.secretName) .Values.test.certificateSecretName -}}
{{- if and $token $certificate -}}true{{- end -}}
{{- end -}}

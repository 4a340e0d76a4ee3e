{{/* Values that the schema allows one by one and that contradict one another. The gateway's Deployment, which is always
rendered, includes this. */}}
{{- define "cellserve.validate" -}}
{{- $sidecar := eq .Values.topology "sidecar" -}}

{{- if and $sidecar .Values.triton.autoscaling.enabled -}}
{{- fail "triton.autoscaling: in the sidecar topology Tritons come with gateways; use gateway.autoscaling" -}}
{{- end -}}
{{- range $tier := list "gateway" "triton" -}}
{{- with get $.Values $tier -}}
{{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling: minReplicas exceeds maxReplicas" $tier) -}}
{{- end -}}
{{- $none := list "0" "0%" -}}
{{- if and (has (toString .rollingUpdate.maxUnavailable) $none) (has (toString .rollingUpdate.maxSurge) $none) -}}
{{- fail (printf "%s.rollingUpdate: with maxUnavailable and maxSurge 0 no update could begin" $tier) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.gateway.extraEnv -}}
{{- if hasPrefix "CELLSERVE_" .name -}}
{{- $setting := trimPrefix "CELLSERVE_" .name | lower -}}
{{- fail (printf "gateway.extraEnv: %s is a setting; gateway.settings takes it as %s" .name $setting) -}}
{{- end -}}
{{- end -}}

{{- if eq .Values.triton.profile "gpu" -}}
{{- $gpu := false -}}
{{- range $resource, $_ := .Values.triton.gpu.resources.limits -}}
{{- $gpu = or $gpu (hasPrefix "nvidia.com/" $resource) -}}
{{- end -}}
{{- if not $gpu -}}
{{- fail "triton.gpu.resources.limits: the gpu profile needs a GPU, such as nvidia.com/gpu: 1" -}}
{{- end -}}
{{- end -}}

{{- with .Values.models -}}
{{- if and (eq .source "persistentVolumeClaim") (not .persistentVolumeClaim.claimName) -}}
{{- fail "models.persistentVolumeClaim.claimName: which claim has the models?" -}}
{{- end -}}
{{- if eq .source "objectStorage" -}}
{{- if not .objectStorage.remote -}}
{{- fail "models.objectStorage.remote: where are the models, such as s3:bucket/models?" -}}
{{- end -}}
{{- if not .objectStorage.sha256 -}}
{{- fail "models.objectStorage.sha256: which models are meant? It is the SHA-256 of the repository's SHA256SUMS" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with .Values.tls -}}
{{- if and .enabled (not .secretName) -}}
{{- fail "tls.secretName: which secret has the certificate and its key?" -}}
{{- end -}}
{{- if and (not .enabled) (or .clientCA.secretName .certManager.enabled) -}}
{{- fail "tls.enabled: clientCA and certManager have no effect without it" -}}
{{- end -}}
{{- if and .certManager.enabled (not .certManager.issuerName) -}}
{{- fail "tls.certManager.issuerName: who issues the certificate?" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.tlsSecretName (not .Values.ingress.host) -}}
{{- fail "ingress.host: for which host is the certificate in ingress.tlsSecretName?" -}}
{{- end -}}
{{- with .Values.http -}}
{{- if and (not .enabled) (or .ingress.enabled .route.enabled) -}}
{{- fail "http.enabled: http.ingress and http.route have no effect without it" -}}
{{- end -}}
{{- if and .ingress.tlsSecretName (not .ingress.host) -}}
{{- fail "http.ingress.host: for which host is the certificate in http.ingress.tlsSecretName?" -}}
{{- end -}}
{{- if and .route.enabled (not .route.parentRefs) -}}
{{- fail "http.route.parentRefs: which gateway takes the route up?" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) -}}
{{- fail "grpcRoute.parentRefs: which gateway takes the route up?" -}}
{{- end -}}

{{- with .Values.batch -}}
{{- if .enabled -}}
{{- if not .input.claimName -}}
{{- fail "batch.input.claimName: which claim has the images?" -}}
{{- end -}}
{{- if not .input.paths -}}
{{- fail "batch.input.paths: which images of the claim? `.` stands for all" -}}
{{- end -}}
{{- if not .output.claimName -}}
{{- fail "batch.output.claimName: which claim takes the results?" -}}
{{- end -}}
{{- if and (eq .input.claimName .output.claimName) (not .output.folder) -}}
{{- fail "batch.output.folder: on the claim of the images, results need a folder of their own" -}}
{{- end -}}
{{- if and $.Values.auth.tokensSecretName (not .tokenSecretName) -}}
{{- fail "batch.tokenSecretName: which secret has the token that the gateways ask for?" -}}
{{- end -}}
{{- if and $.Values.tls.clientCA.secretName (not .certificateSecretName) -}}
{{- fail "batch.certificateSecretName: which secret has the certificate that the gateways ask for?" -}}
{{- end -}}
{{- range .extraArgs -}}
{{- $option := first (splitList "=" .) -}}
{{- if has $option (list "--address" "-a" "--out" "-o" "--save" "--shard" "--status") -}}
{{- fail (printf "batch.extraArgs: %s follows from other values" $option) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cellserve.gateway.container" -}}
- name: gateway
  {{- include "cellserve.image" (list . .Values.gateway.image) | nindent 2 }}
  ports:
    - name: grpc
      containerPort: 50051
    - name: health
      containerPort: 50052
    - name: metrics
      containerPort: 9464
    {{- if .Values.http.enabled }}
    - name: http
      containerPort: 8080
    {{- end }}
  envFrom:
    - configMapRef:
        name: {{ include "cellserve.gateway.name" . }}
  env:
    - name: NUMBA_CACHE_DIR # kernels that a container has compiled are there when it restarts
      value: /tmp/numba
    {{- if not (hasKey .Values.gateway.settings "worker_threads") }}
    {{- with include "cellserve.container.threads" (list "CELLSERVE_WORKER_THREADS" "gateway" .Values.gateway.resources) }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with .Values.gateway.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  # Health has a port of its own because kubelets know neither TLS nor tokens. The service "liveness" lives whatever
  # Triton does: while one builds its engines for half an hour, gateways are kept out of the Service, not restarted.
  startupProbe:
    grpc: {port: 50052, service: liveness}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: {{ div (add .Values.gateway.startupSeconds 4) 5 }}
  livenessProbe:
    grpc: {port: 50052, service: liveness}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    grpc: {port: 50052}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 2
  resources:
    {{- toYaml .Values.gateway.resources | nindent 4 }}
  {{- include "cellserve.container.securityContext" . | nindent 2 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- with include "cellserve.models.mount" . }}
    {{- . | nindent 4 }}
    {{- end }}
    # Whole folders: a file mounted by subPath would never be renewed.
    {{- if .Values.tls.enabled }}
    - name: tls
      mountPath: /etc/cellserve/tls
      readOnly: true
    {{- end }}
    {{- if .Values.tls.clientCA.secretName }}
    - name: client-ca
      mountPath: /etc/cellserve/client-ca
      readOnly: true
    {{- end }}
    {{- if .Values.auth.tokensSecretName }}
    - name: tokens
      mountPath: /etc/cellserve/tokens
      readOnly: true
    {{- end }}
{{- end -}}

{{- define "cellserve.gateway.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- with include "cellserve.models.volume" . }}
{{ . }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ .Values.tls.secretName | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.clientCA.secretName }}
- name: client-ca
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.auth.tokensSecretName }}
- name: tokens
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}

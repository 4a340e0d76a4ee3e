{{/* Triton: in pods of its own, or a native sidecar of the gateway, which starts before it and ends after it. */}}
{{- define "cellserve.triton.container" -}}
{{- $sidecar := eq .Values.topology "sidecar" -}}
{{- $profile := include "cellserve.triton.profile" . | fromJson -}}
- name: triton
  {{- include "cellserve.image" (list . $profile.image) | nindent 2 }}
  {{- if $sidecar }}
  restartPolicy: Always
  {{- end }}
  args:
    - --host=0.0.0.0 # for Prometheus and probes; the NetworkPolicy keeps others out
    - --model-repository=/models
    {{- if eq .Values.triton.profile "gpu" }}
    - --model-config-name=gpu
    {{- end }}
    - --ready-timeout-s={{ $profile.startupSeconds }}
    - --exit-timeout-s={{ .Values.triton.exitTimeoutSeconds }}
    {{- with .Values.triton.extraArgs }}
    - --
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: triton-http
      containerPort: 8000
    - name: triton-grpc
      containerPort: 8001
    - name: triton-metrics
      containerPort: 8002
  env:
    - name: HOME
      value: /tmp
    {{- if eq .Values.triton.profile "cpu" }}
    {{- with include "cellserve.container.threads" (list "OMP_NUM_THREADS" "triton" $profile.resources) }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with .Values.triton.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  # 30 s more than the launcher gives itself: it is the one that can say why a start failed.
  startupProbe:
    grpc: {port: 8001}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: {{ div (add $profile.startupSeconds 34) 5 }}
  # Not ready does not mean dead: the gRPC health service tells the one, this path the other. Neither tells of a model
  # whose process has died; the launcher ends then, and with it the container.
  livenessProbe:
    httpGet: {path: /v2/health/live, port: 8000}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    grpc: {port: 8001}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 2
  {{- if not $sidecar }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ include "cellserve.triton.preStopSeconds" . }}
  {{- end }}
  resources:
    {{- toYaml $profile.resources | nindent 4 }}
  {{- include "cellserve.container.securityContext" . | nindent 2 }}
  volumeMounts:
    - name: triton-tmp
      mountPath: /tmp
    - name: shared-memory
      mountPath: /dev/shm
    {{- if eq .Values.triton.profile "gpu" }}
    - name: engines
      mountPath: /tmp/cellserve-tensorrt
    {{- end }}
    {{- with include "cellserve.models.mount" . }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "cellserve.triton.volumes" -}}
- name: triton-tmp
  emptyDir:
    sizeLimit: 1Gi
- name: shared-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.triton.sharedMemory }}
{{- if eq .Values.triton.profile "gpu" }}
- name: engines
  {{- with .Values.triton.engineCache }}
  {{- if .claimName }}
  persistentVolumeClaim:
    claimName: {{ .claimName | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .sizeLimit }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

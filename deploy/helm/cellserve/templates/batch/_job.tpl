{{/* First part of the names of a batch's objects. */}}
{{- define "cellserve.batch.name" -}}{{ include "cellserve.fullname" . }}-batch{{- end -}}

{{/* Name of the Job: another content, another Job. With the longest index, -99999, the name of a pod fits into 63
characters. */}}
{{- define "cellserve.batch.job" -}}
{{ include "cellserve.batch.name" . }}-{{ printf "%s\n%s" (include "cellserve.batch.content" .) .Values.batch.run | sha256sum | trunc 6 }}
{{- end -}}

{{/* Folder of the results in the pods. */}}
{{- define "cellserve.batch.out" -}}{{ printf "/output/%s" .Values.batch.output.folder | clean }}{{- end -}}

{{/* A Job's spec, but for what may change while the Job runs: Kubernetes refuses a change of most of this. */}}
{{- define "cellserve.batch.content" -}}
{{- $access := list . .Values.batch -}}
{{- $shared := eq .Values.batch.input.claimName .Values.batch.output.claimName -}}
completionMode: Indexed
completions: {{ .Values.batch.shards }}
backoffLimitPerIndex: {{ .Values.batch.backoffLimitPerIndex }}
maxFailedIndexes: {{ min .Values.batch.maxFailedIndexes .Values.batch.shards }}
{{- with .Values.batch.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ int64 . }}
{{- end }}
podReplacementPolicy: Failed # a shard has one pod at a time, one writer of its journal
podFailurePolicy:
  rules:
    - action: Ignore # a pod that was evicted, preempted or drained with its node has not failed
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
    - action: FailJob # wrong usage: every shard has the same
      onExitCodes: {containerName: batch, operator: In, values: [2]}
template:
  metadata:
    labels:
      {{- include "cellserve.selectorLabels" (list . "batch") | nindent 6 }}
      {{- with .Values.batch.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .Values.batch.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "cellserve.pod.base" . | nindent 4 }}
    {{- with .Values.batch.supplementalGroups }}
      supplementalGroups:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    restartPolicy: Never # a rule of podFailurePolicy needs this
    terminationGracePeriodSeconds: {{ .Values.batch.terminationGracePeriodSeconds }}
    containers:
      - name: batch
        {{- include "cellserve.image" (list . .Values.gateway.image) | nindent 8 }}
        command:
          - cellserve
          {{- with include "cellserve.access.options" $access }}
          {{- . | nindent 10 }}
          {{- end }}
          - batch
          {{- range .Values.batch.input.paths }}
          - {{ printf "/input/%s" . | clean | quote }}
          {{- end }}
          - {{ printf "--out=%s" (include "cellserve.batch.out" .) | quote }}
          - --shard=$(JOB_COMPLETION_INDEX)/{{ .Values.batch.shards }}
          {{- range .Values.batch.save }}
          - {{ printf "--save=%s" . | quote }}
          {{- end }}
          {{- range .Values.batch.extraArgs }}
          - {{ . | quote }}
          {{- end }}
        env:
          - name: CELLSERVE_ADDRESS
            value: {{ include "cellserve.gateway.address" . }}
          {{- with include "cellserve.access.environment" $access }}
          {{- . | nindent 10 }}
          {{- end }}
        resources:
          {{- toYaml .Values.batch.resources | nindent 10 }}
        {{- include "cellserve.container.securityContext" . | nindent 8 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          - name: {{ ternary "output" "input" $shared }}
            mountPath: /input
            readOnly: true
          - name: output
            mountPath: /output
          {{- with include "cellserve.access.mounts" $access | trim }}
          {{- . | nindent 10 }}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 1Gi
      {{- if not $shared }}
      - name: input
        persistentVolumeClaim:
          claimName: {{ .Values.batch.input.claimName | quote }}
          readOnly: true # of the whole volume, so that its files keep their group
      {{- end }}
      - name: output
        persistentVolumeClaim:
          claimName: {{ .Values.batch.output.claimName | quote }}
      {{- with include "cellserve.access.volumes" $access | trim }}
      {{- . | nindent 6 }}
      {{- end }}
    {{- $where := dict "tier" .Values.batch "nodeSelector" .Values.batch.nodeSelector "tolerations" .Values.batch.tolerations }}
    {{- with include "cellserve.pod.scheduling" (list . "batch" $where) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

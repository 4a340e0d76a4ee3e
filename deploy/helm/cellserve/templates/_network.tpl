{{/* Pieces of the NetworkPolicies. Kubelets' probes come from the pod's own node, which policies do not keep out: the
ports of health (50052) and of Triton's HTTP interface (8000) are open to nobody else. Ports are numbers, here and in
Services: not every network plugin knows named ports, and Kubernetes before 1.33 misses those of native sidecars. */}}

{{/* Egress to the name servers. */}}
{{- define "cellserve.network.dns" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dnsPeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Egress to the object storage, where models come from there. */}}
{{- define "cellserve.network.objectStorage" -}}
{{- if eq .Values.models.source "objectStorage" -}}
- ports:
    {{- range .Values.networkPolicy.objectStoragePorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.objectStoragePeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Egress of the release's own clients: name servers and gateways. */}}
{{- define "cellserve.network.gateway" -}}
{{ include "cellserve.network.dns" . }}
- ports:
    - {protocol: TCP, port: 50051}
  to:
    - podSelector:
        matchLabels:
          {{- include "cellserve.selectorLabels" (list . "gateway") | nindent 10 }}
{{- end -}}

{{- define "ibdra.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{- define "ibdra.node" -}}
{{ include "ibdra.fullname" . }}-kubelet-plugin
{{- end }}

{{- define "ibdra.webhook" -}}
{{ include "ibdra.fullname" . }}-webhook
{{- end }}

{{- define "ibdra.node.serviceAccount" -}}
{{ .Values.kubeletPlugin.serviceAccount.name | default (include "ibdra.node" .) }}
{{- end }}

{{- define "ibdra.webhook.serviceAccount" -}}
{{ .Values.webhook.serviceAccount.name | default (include "ibdra.webhook" .) }}
{{- end }}

{{- define "ibdra.webhook.secret" -}}
{{- if eq .Values.webhook.certificate.mode "secret" -}}
{{ required "webhook.certificate.existingSecret: name the Secret that mode \"secret\" is about" .Values.webhook.certificate.existingSecret }}
{{- else -}}
{{ include "ibdra.webhook" . }}-tls
{{- end }}
{{- end }}

{{/* What selects the pods of a part; call it with (list . "part"). */}}
{{- define "ibdra.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: ibdra
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object of a part; call it with (list . "part"). */}}
{{- define "ibdra.labels" -}}
{{- $root := index . 0 -}}
{{ include "ibdra.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ibdra.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The agent's security context. */}}
{{- define "ibdra.node.securityContext" -}}
{{- $plugin := .Values.kubeletPlugin -}}
runAsUser: 0
runAsNonRoot: false
readOnlyRootFilesystem: true
{{- if $plugin.privileged }}
privileged: true
{{- else }}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  {{- with $plugin.capabilities }}
  add: {{ toJson . }}
  {{- end }}
{{- with $plugin.seccompProfile }}
seccompProfile:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $plugin.appArmorProfile }}
appArmorProfile:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $plugin.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ibdra.node.guids" -}}
{{- $guids := .Values.kubeletPlugin.guids -}}
{{- if and $guids.toml $guids.existingConfigMap }}
{{- fail "kubeletPlugin.guids: give toml or existingConfigMap, not both" }}
{{- end }}
{{- if $guids.existingConfigMap -}}
{{ $guids.existingConfigMap }}
{{- else if $guids.toml -}}
{{ include "ibdra.node" . }}-guids
{{- end }}
{{- end }}

{{/* Where the driver has its files: options that its commands share. */}}
{{- define "ibdra.node.places" -}}
{{- $folders := .Values.kubeletPlugin.folders -}}
- {{ printf "--kubelet-dir=%s" $folders.kubelet | quote }}
- {{ printf "--cdi-dir=%s" $folders.cdi | quote }}
- {{ printf "--state-dir=%s/claims" $folders.state | quote }}
- {{ printf "--run-dir=%s" $folders.run | quote }}
- {{ printf "--hook=%s/ibdra-hook" $folders.hook | quote }}
{{- with .Values.kubeletPlugin.simulate }}
- {{ printf "--simulate=%s" . | quote }}
{{- end }}
{{- end }}

{{/* What a container has that moves devices; its list of mounts comes last, to be added to. */}}
{{- define "ibdra.node.common" -}}
{{- $plugin := .Values.kubeletPlugin -}}
{{- $folders := $plugin.folders -}}
env:
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_UID # tells two agents of a rolling update apart
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: HOST_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- with $plugin.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
securityContext:
  {{- include "ibdra.node.securityContext" . | nindent 2 }}
{{- with $plugin.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
- {name: sys, mountPath: /sys}
- {name: infiniband, mountPath: /dev/infiniband, readOnly: true}
# Not the folder above it: there CSI drivers mount volumes, which would stay mounted in here.
- {name: plugin, mountPath: {{ $folders.kubelet }}/plugins/ib.sigs.k8s.io}
- {name: registry, mountPath: {{ $folders.kubelet }}/plugins_registry}
- {name: cdi, mountPath: {{ $folders.cdi }}}
- {name: state, mountPath: {{ $folders.state }}}
- {name: run, mountPath: {{ $folders.run }}}
# Namespaces that are mounted later are seen too.
- {name: netns, mountPath: /run/netns, readOnly: true, mountPropagation: HostToContainer}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "rookery.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rookery.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rookery.labels" -}}
{{ include "rookery.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "rookery.secretName" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-secrets" (include "rookery.fullname" .)) -}}
{{- end -}}

{{- define "rookery.tlsSecretName" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "rookery.fullname" .)) -}}
{{- end -}}

{{- /* The name in the certificate by which a pod talks to itself. */ -}}
{{- define "rookery.serverName" -}}
{{- .Values.tls.serverName | default (printf "%s-api.%s.svc" (include "rookery.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{- /* The addresses of all voters there may be: nodes find their cluster through them on their first start. The list does not
depend on the number of replicas, so that scaling restarts nobody. */ -}}
{{- define "rookery.join" -}}
{{- $full := include "rookery.fullname" . -}}
{{- $addresses := list -}}
{{- range $ordinal := until 3 -}}
{{- if or (gt ($.Values.voters.replicas | int) 1) (eq $ordinal 0) -}}
{{- $addresses = append $addresses (printf "%s-%d.%s-peers.%s.svc.%s:8550" $full $ordinal $full $.Release.Namespace $.Values.clusterDomain) -}}
{{- end -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

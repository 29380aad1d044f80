{{/* Names and labels, and the checks that a schema cannot make. */}}

{{- define "keystile.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that every suffix fits into 63. */}}
{{- define "keystile.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "keystile.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "keystile.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "keystile.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keystile.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keystile.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "keystile.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: keystile
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "keystile.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "keystile.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "keystile.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "keystile.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "keystile.fullname" .)) }}
{{- end }}

{{/* The port that speaks gRPC health without TLS. */}}
{{- define "keystile.probePort" -}}
{{- if .Values.tls.enabled }}{{ .Values.ports.health }}{{ else }}{{ .Values.ports.grpc }}{{ end }}
{{- end }}

{{- define "keystile.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Secrets are mounted for this group.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "keystile.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "keystile.validate" -}}
{{- if not .Values.database.existingSecret }}
{{- fail "database.existingSecret: name a Secret that holds the URL of PostgreSQL" }}
{{- end }}
{{- if .Values.tls.enabled }}
{{- if and .Values.tls.existingSecret .Values.tls.certManager.enabled }}
{{- fail "tls: existingSecret and certManager are both given; keep one of the two" }}
{{- end }}
{{- if not (or .Values.tls.existingSecret .Values.tls.certManager.enabled) }}
{{- fail "tls.enabled: name a Secret by tls.existingSecret, or set tls.certManager.enabled" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) }}
{{- fail "tls.certManager.issuerRef.name: name an issuer" }}
{{- end }}
{{- if and .Values.tls.clientCa.callers (not .Values.tls.clientCa.existingSecret) }}
{{- fail "tls.clientCa.callers: certificates can only be believed with tls.clientCa.existingSecret" }}
{{- end }}
{{- else }}
{{- if or .Values.tls.certManager.enabled .Values.tls.existingSecret .Values.tls.clientCa.existingSecret }}
{{- fail "tls: certificates are given, but tls.enabled is false: the port would speak plaintext" }}
{{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling: minReplicas is more than maxReplicas" }}
{{- end }}
{{- end }}

{{/* What the service's container is told, and the files that it reads. */}}

{{- define "keystile.env" -}}
- { name: KEYSTILE_LISTEN, value: {{ printf "%s:%v" .Values.listenAddress .Values.ports.grpc | quote }} }
- { name: KEYSTILE_OPS_LISTEN, value: {{ printf "%s:%v" .Values.listenAddress .Values.ports.ops | quote }} }
- { name: KEYSTILE_DATABASE_URL_FILE, value: /run/secrets/keystile/database/{{ .Values.database.urlKey }} }
- { name: KEYSTILE_DRAIN_DELAY, value: {{ .Values.drain.delaySeconds }}s }
- { name: KEYSTILE_DRAIN_TIMEOUT, value: {{ .Values.drain.timeoutSeconds }}s }
# A pod that starts while the database is away waits: liveness answers meanwhile.
- { name: KEYSTILE_DATABASE_WAIT, value: 10m }
- { name: KEYSTILE_LOG_FORMAT, value: json }
{{- if .Values.config }}
- { name: KEYSTILE_CONFIG, value: /etc/keystile/keystile.toml }
{{- end }}
{{- if .Values.bootstrap.existingSecret }}
- { name: KEYSTILE_BOOTSTRAP_TOKEN_FILE, value: /run/secrets/keystile/bootstrap/{{ .Values.bootstrap.tokenKey }} }
{{- end }}
{{- if .Values.peppers.existingSecret }}
- { name: KEYSTILE_PEPPERS_FILE, value: /run/secrets/keystile/peppers/{{ .Values.peppers.fileKey }} }
{{- end }}
{{- if .Values.tls.enabled }}
- { name: KEYSTILE_HEALTH_LISTEN, value: {{ printf "%s:%v" .Values.listenAddress .Values.ports.health | quote }} }
- { name: KEYSTILE_TLS_CERT_FILE, value: /run/secrets/keystile/tls/tls.crt }
- { name: KEYSTILE_TLS_KEY_FILE, value: /run/secrets/keystile/tls/tls.key }
{{- if .Values.tls.clientCa.existingSecret }}
- { name: KEYSTILE_TLS_CLIENT_CA_FILE, value: /run/secrets/keystile/client-ca/{{ .Values.tls.clientCa.key }} }
- { name: KEYSTILE_TLS_CLIENT_AUTH, value: {{ .Values.tls.clientCa.auth }} }
{{- with .Values.tls.clientCa.callers }}
{{- $callers := list }}
{{- range $san, $key := . }}
{{- $callers = append $callers (printf "%s=%s" $san $key) }}
{{- end }}
- { name: KEYSTILE_TLS_CLIENT_CALLER, value: {{ join "," $callers | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whole folders, never subPath: only so a changed Secret arrives in a running pod. */}}
{{- define "keystile.volumeMounts" -}}
- { name: database, mountPath: /run/secrets/keystile/database, readOnly: true }
{{- if .Values.config }}
- { name: config, mountPath: /etc/keystile, readOnly: true }
{{- end }}
{{- if .Values.bootstrap.existingSecret }}
- { name: bootstrap, mountPath: /run/secrets/keystile/bootstrap, readOnly: true }
{{- end }}
{{- if .Values.peppers.existingSecret }}
- { name: peppers, mountPath: /run/secrets/keystile/peppers, readOnly: true }
{{- end }}
{{- if .Values.tls.enabled }}
- { name: tls, mountPath: /run/secrets/keystile/tls, readOnly: true }
{{- if .Values.tls.clientCa.existingSecret }}
- { name: client-ca, mountPath: /run/secrets/keystile/client-ca, readOnly: true }
{{- end }}
{{- end }}
{{- end }}

{{- define "keystile.volumes" -}}
- name: database
  secret: { secretName: {{ .Values.database.existingSecret }}, defaultMode: 0440 }
{{- if .Values.config }}
- name: config
  configMap: { name: {{ include "keystile.fullname" . }} }
{{- end }}
{{- if .Values.bootstrap.existingSecret }}
- name: bootstrap
  secret: { secretName: {{ .Values.bootstrap.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- if .Values.peppers.existingSecret }}
- name: peppers
  secret: { secretName: {{ .Values.peppers.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret: { secretName: {{ include "keystile.tlsSecret" . }}, defaultMode: 0440 }
{{- if .Values.tls.clientCa.existingSecret }}
- name: client-ca
  secret: { secretName: {{ .Values.tls.clientCa.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- end }}

{{- /* One set of nodes: .component is voter or edge, .nodes its values. */ -}}
{{- define "rookery.nodes" -}}
{{- $root := .root -}}
{{- $full := include "rookery.fullname" $root -}}
{{- $values := $root.Values -}}
{{- $isVoter := eq .component "voter" -}}
{{- $isPersistent := or (not $isVoter) .nodes.persistence.enabled -}}
{{- $scaled := and (not $isVoter) $values.edge.autoscaling.enabled -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $full }}{{ .suffix }}
  labels: {{- include "rookery.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if not $scaled }}
  replicas: {{ .nodes.replicas }}
  {{- end }}
  serviceName: {{ $full }}-peers
  # The first start needs a quorum at once.
  podManagementPolicy: Parallel
  updateStrategy: {type: RollingUpdate}
  minReadySeconds: 10
  {{- if $isPersistent }}
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: {{ .nodes.persistence.whenScaled }}
  {{- end }}
  selector:
    matchLabels: {{- include "rookery.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels: {{- include "rookery.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      {{- with .nodes.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $full }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $values.drain.terminationGracePeriodSeconds }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      {{- with $values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .nodes.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .nodes.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .nodes.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "rookery.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .component }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          # Two voters on one machine would be lost together.
          whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" $isVoter }}
          labelSelector:
            matchLabels: {{- include "rookery.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .component }}
      containers:
        - name: rookery
          image: "{{ $values.image.repository }}:{{ $values.image.tag | default $root.Chart.AppVersion }}"
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command: [rookery]
          args:
            - serve
            - --node-name=$(POD_NAME)
            - --data-dir=/var/lib/rookery
            - --mqtts=0.0.0.0:8883
            {{- if $values.mqtt.plain.enabled }}
            - --mqtt=0.0.0.0:1883
            {{- end }}
            - --api=0.0.0.0:8443
            - --ops=0.0.0.0:8080
            - --peer=0.0.0.0:8550
            - --advertise-peer=$(POD_NAME).{{ $full }}-peers.$(POD_NAMESPACE).svc.{{ $values.clusterDomain }}:8550
            - --join={{ include "rookery.join" $root }}
            {{- if $isVoter }}
            - --expect-voters={{ ternary 3 1 (gt (.nodes.replicas | int) 1) }}
            {{- end }}
            - --join-secret-file=/etc/rookery/secrets/join.secret
            - --admin-token-file=/etc/rookery/secrets/admin.token
            - --tls-cert=/etc/rookery/tls/tls.crt
            - --tls-key=/etc/rookery/tls/tls.key
          env:
            - name: POD_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
            - name: POD_NAMESPACE
              valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
            {{- if $isVoter }}
            # With five nodes five voters, and back, without a restart.
            - {name: ROOKERY_CLUSTER__VOTERS, value: "5"}
            {{- else }}
            - {name: ROOKERY_CLUSTER__VOTE, value: "false"}
            {{- end }}
            - {name: ROOKERY_LOG__FORMAT, value: json}
            - {name: ROOKERY_NODE__DRAIN_RATE, value: {{ $values.drain.sessionsPerSecond | quote }}}
            # For the commands that run in the pod.
            - {name: ROOKERY_DATA_DIR, value: /var/lib/rookery}
            - {name: ROOKERY_ENDPOINT, value: "127.0.0.1:8443"}
            - {name: ROOKERY_TOKEN_FILE, value: /etc/rookery/secrets/admin.token}
            - {name: ROOKERY_TLS_NAME, value: {{ include "rookery.serverName" $root }}}
            {{- with $values.tls.caKey }}
            - {name: ROOKERY_CA_FILE, value: /etc/rookery/tls/{{ . }}}
            {{- end }}
            {{- range $name, $value := $values.settings }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            - {name: mqtts, containerPort: 8883}
            {{- if $values.mqtt.plain.enabled }}
            - {name: mqtt, containerPort: 1883}
            {{- end }}
            - {name: api, containerPort: 8443}
            - {name: ops, containerPort: 8080}
            - {name: peer, containerPort: 8550}
          # The process is up and its log is open; replaying a long one takes its time.
          startupProbe:
            httpGet: {path: /livez, port: ops}
            periodSeconds: 5
            failureThreshold: {{ $values.startup.failureThreshold }}
          # It does its work. Never depends on the other nodes.
          livenessProbe:
            httpGet: {path: /livez, port: ops}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          # It has its place in the cluster, a lease, and does not drain.
          readinessProbe:
            httpGet: {path: /readyz, port: ops}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          lifecycle:
            preStop:
              exec:
                command:
                  - rookery
                  - node
                  - leave
                  - --if-scaled-down
                  - --rate={{ $values.drain.sessionsPerSecond }}
                  - --timeout={{ sub ($values.drain.terminationGracePeriodSeconds | int) 30 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          {{- with .nodes.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/rookery}
            - {name: secrets, mountPath: /etc/rookery/secrets, readOnly: true}
            - {name: tls, mountPath: /etc/rookery/tls, readOnly: true}
      volumes:
        - name: secrets
          secret: {secretName: {{ include "rookery.secretName" $root }}, defaultMode: 0440}
        - name: tls
          secret: {secretName: {{ include "rookery.tlsSecretName" $root }}, defaultMode: 0440}
        {{- if not $isPersistent }}
        - name: data
          emptyDir: {}
        {{- end }}
  {{- if $isPersistent }}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .nodes.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ .nodes.persistence.size }}}
  {{- end }}
{{- end -}}

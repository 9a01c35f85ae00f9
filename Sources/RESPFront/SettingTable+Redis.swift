/// Redis 7.0's settings that mean nothing here: checked, kept and given back.
extension SettingTable {
    static let redisFlags: [Setting] = yes.map { flag($0, "yes", .live) }
        + no.map { flag($0, "no", .live) }
        + [Setting("rdbchecksum", .flag, .atStart, .flag(\.rdbChecksum))]
        + ["set-proc-title", "disable-thp"].map { flag($0, "yes", .atStart) }
        + ["daemonize", "io-threads-do-reads", "syslog-enabled"].map { flag($0, "no", .atStart) }
        + [
            replica("serve-stale-data", .flag, "yes"), replica("read-only", .flag, "yes"),
            replica("ignore-maxmemory", .flag, "yes"), replica("lazy-flush", .flag, "no"),
            Setting("cluster-replica-no-failover", alias: "cluster-slave-no-failover", .flag,
                .stored("no")),
            Setting("cluster-enabled", .flag, .atStart, .stored("no"),
                unavailable: "cluster mode is not available"),
        ]

    private static func flag(_ name: String, _ initial: String, _ change: Setting.Change) -> Setting
    {
        Setting(name, .flag, change, .stored(initial))
    }

    private static func replica(_ name: String, _ kind: Setting.Kind, _ initial: String) -> Setting
    {
        Setting("replica-" + name, alias: "slave-" + name, kind, .stored(initial))
    }

    private static let yes = [
        "rdbcompression", "activerehashing", "repl-diskless-sync",
        "aof-rewrite-incremental-fsync", "cluster-require-full-coverage",
        "rdb-save-incremental-fsync", "aof-use-rdb-preamble",
        "jemalloc-bg-thread", "cluster-allow-pubsubshard-when-down", "crash-log-enabled",
        "crash-memcheck-enabled", "cluster-allow-replica-migration", "replica-announced",
        "tls-session-caching",
    ]

    private static let no = [
        "rdb-del-sync-files", "lazyfree-lazy-eviction", "lazyfree-lazy-expire",
        "lazyfree-lazy-server-del", "lazyfree-lazy-user-del", "lazyfree-lazy-user-flush",
        "repl-disable-tcp-nodelay", "aof-timestamp-enabled",
        "activedefrag", "cluster-allow-reads-when-down", "aof-disable-auto-gc",
        "replica-ignore-disk-write-errors", "tls-cluster", "tls-replication",
        "tls-prefer-server-ciphers",
    ]

    // MARK: Numbers

    static let redisNumbers: [Setting] =
        [
            number(
                "list-max-listpack-size", alias: "list-max-ziplist-size", "-2",
                Int64(Int32.min)...Int64(Int32.max)),
            number("list-compress-depth", "0"),
            number("active-defrag-cycle-min", "1", 1...99),
            number("active-defrag-cycle-max", "25", 1...99),
            number("active-defrag-threshold-lower", "10", 0...1000),
            number("active-defrag-threshold-upper", "100", 0...1000),
            Setting("active-defrag-ignore-bytes", .memory(1...Int64.max), .stored("104857600")),
            number("active-defrag-max-scan-fields", "1000", 1...Int64.max),
            number("active-expire-effort", "1", 1...10), number("maxmemory-samples", "5", 1...64),
            number("maxmemory-eviction-tenacity", "10", 0...100),
            Setting("maxmemory-clients", .memoryOrPercent, .stored("0")),
            number("lfu-log-factor", "10"), number("lfu-decay-time", "1"),
            Setting(
                "busy-reply-threshold", alias: "lua-time-limit", .integer(any),
                .number(\.busyReplyThreshold)),
            number("acllog-max-len", "128", any), number("shutdown-timeout", "10"),
            Setting("tracking-table-max-keys", .integer(any), .number(\.trackingTableMaxKeys)),
            number("socket-mark-id", "0", 0...Int64(UInt32.max)),
            Setting(
                "tls-port", .integer(0...65535), .atStart, .stored("0"),
                unavailable: "TLS is not available"),
            number("tls-session-cache-size", "20480"), number("tls-session-cache-timeout", "300"),
        ] + replicationNumbers + clusterNumbers

    private static let replicationNumbers: [Setting] = [
        number("replica-priority", alias: "slave-priority", "100"),
        number("replica-announce-port", alias: "slave-announce-port", "0", 0...65535),
        number(
            "repl-ping-replica-period", alias: "repl-ping-slave-period", "10",
            1...Int64(Int32.max)),
        number("repl-timeout", "60", 1...Int64(Int32.max)),
        Setting("repl-backlog-size", .memory(1...Int64.max), .stored("1048576")),
        Setting("repl-backlog-ttl", .integer(any), .stored("3600")),
        number("repl-diskless-sync-delay", "5"), number("repl-diskless-sync-max-replicas", "0"),
        number("min-replicas-to-write", alias: "min-slaves-to-write", "0"),
        number("min-replicas-max-lag", alias: "min-slaves-max-lag", "10"),
    ]

    private static let clusterNumbers: [Setting] = [
        number("cluster-announce-port", "0", 0...65535),
        number("cluster-announce-bus-port", "0", 0...65535),
        number("cluster-announce-tls-port", "0", 0...65535),
        Setting("cluster-port", .integer(0...65535), .atStart, .stored("0")),
        Setting("cluster-link-sendbuf-limit", .memory(any), .stored("0")),
        number("cluster-node-timeout", "15000", any), number("cluster-migration-barrier", "1"),
        number("cluster-replica-validity-factor", alias: "cluster-slave-validity-factor", "10"),
    ]

    private static func number(
        _ name: String, alias: String? = nil, _ initial: String, _ range: ClosedRange<Int64> = count
    ) -> Setting {
        Setting(name, alias: alias, .integer(range), .stored(initial))
    }

    // MARK: Names and texts

    static let redisTexts: [Setting] =
        choices + [
            Setting(
                "save", .checked(isList: true, SettingChecks.save), .property(
                    get: { $0.savePoints.map { "\($0.seconds) \($0.changes)" }.joined(separator: " ") },
                    set: { configuration, value in
                        let numbers = value.split(separator: " ").map { UInt64($0)! }
                        configuration.savePoints = stride(from: 0, to: numbers.count, by: 2).map {
                            Configuration.SavePoint(seconds: Int64(numbers[$0]), changes: numbers[$0 + 1])
                        }
                    })),
            Setting("stop-writes-on-bgsave-error", .flag, .flag(\.stopsWritesUnsaved)),
            Setting(
                "notify-keyspace-events", .checked(isList: false, SettingChecks.events),
                .property(
                    get: { $0.notifications.letters },
                    set: { $0.notifications = KeyspaceEvent(letters: $1) })
            ),
            Setting(
                "oom-score-adj-values", .checked(isList: true, SettingChecks.outOfMemoryScores),
                .stored("0 200 800")),
            Setting(
                "replicaof", alias: "slaveof", .checked(isList: true, SettingChecks.noReplication),
                .atStart, .stored("")),
            Setting("dbfilename", .checked(isList: false, SettingChecks.fileName), .protected,
                .text(\.dbfilename)),
            Setting(
                "aclfile", .text, .atStart, .stored(""),
                unavailable: "ACL files are not available"),
            text("replica-announce-ip", alias: "slave-announce-ip"), text("masteruser"),
            Setting("masterauth", .text, .stored(""), isSensitive: true),
            text("proc-title-template", "{title} {listen-addr} {server-mode}"),
            text("bind-source-addr"),
            text("cluster-announce-ip"), text("cluster-announce-hostname"),
        ]
        + [
            ("pidfile", ""), ("syslog-ident", "redis"), ("cluster-config-file", "nodes.conf"),
            ("ignore-warnings", ""), ("server_cpulist", ""), ("bio_cpulist", ""),
            ("aof_rewrite_cpulist", ""), ("bgsave_cpulist", ""),
        ].map { Setting($0.0, .text, .atStart, .stored($0.1)) }
        + [
            "tls-cert-file", "tls-key-file", "tls-key-file-pass", "tls-client-cert-file",
            "tls-client-key-file", "tls-client-key-file-pass", "tls-dh-params-file",
            "tls-ca-cert-file",
            "tls-ca-cert-dir", "tls-protocols", "tls-ciphers", "tls-ciphersuites",
        ].map { text($0) }

    private static func text(_ name: String, alias: String? = nil, _ initial: String = "")
        -> Setting
    {
        Setting(name, alias: alias, .text, .stored(initial))
    }

    private static let choices: [Setting] = [
        Setting("repl-diskless-load", .choice(["disabled", "on-empty-db", "swapdb"]),
            .stored("disabled")),
        Setting("oom-score-adj", .choice(["no", "yes", "relative", "absolute"]), .stored("no")),
        Setting("acl-pubsub-default", .choice(["allchannels", "resetchannels"]),
            .stored("resetchannels")),
        Setting("sanitize-dump-payload", .choice(["no", "yes", "clients"]), .stored("no")),
        Setting("cluster-preferred-endpoint-type", .choice(["ip", "hostname", "unknown-endpoint"]),
            .stored("ip")),
        Setting("propagation-error-behavior", .choice(["ignore", "panic", "panic-on-replicas"]),
            .stored("ignore")),
        Setting("tls-auth-clients", .choice(["no", "yes", "optional"]), .stored("yes")),
        Setting("shutdown-on-sigint", .choices(shutdown), .stored("default")),
        Setting("shutdown-on-sigterm", .choices(shutdown), .stored("default")),
        Setting(
            "supervised", .choice(["upstart", "systemd", "auto", "no"]), .atStart, .stored("no")),
        Setting(
            "syslog-facility",
            .choice(
                ["user"] + (0...7).map { "local\($0)" }), .atStart, .stored("local0")),
        Setting("enable-protected-configs", .choice(protection), .atStart, .stored("no")),
        Setting("enable-debug-command", .choice(protection), .atStart, .stored("no")),
        Setting("enable-module-command", .choice(protection), .atStart, .stored("no")),
    ]

    private static let shutdown = ["default", "save", "nosave", "now", "force"]
    private static let protection = ["no", "yes", "local"]
}

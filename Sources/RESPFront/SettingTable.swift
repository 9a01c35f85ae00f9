import RESPWire
import TieredStore

/// All settings. Those with a meaning here come first; the rest are Redis 7.0's names, with its
/// defaults and checks, so that its configuration files and clients are understood.
enum SettingTable {
    static let rows: [Setting] =
        network + limits + memory + encodings + observation + tier + appendOnly
        + redisFlags + redisNumbers + redisTexts

    private static let byName: [String: Int] = {
        var byName: [String: Int] = [:]
        for (i, row) in rows.enumerated() {
            for name in [row.name, row.alias] {
                guard let name else { continue }
                precondition(
                    byName.updateValue(i, forKey: name) == nil, "two settings named \(name)")
            }
        }
        return byName
    }()

    /// `name` in lower case, or its older form.
    static func find(_ name: String) -> Setting? { byName[name].map { rows[$0] } }

    static let any: ClosedRange<Int64> = 0...Int64.max
    static let count: ClosedRange<Int64> = 0...Int64(Int32.max)

    // MARK: Settings with a meaning

    private static let network: [Setting] = [
        Setting("bind", .words, .atStart, .property(
            get: { $0.bind.joined(separator: " ") },
            set: { $0.bind = $1.split(separator: " ").map(String.init) })),
        Setting("port", .integer(0...65535), .atStart, .number(\.port)),
        Setting("tcp-backlog", .integer(0...Int64(Int32.max)), .atStart, .number(\.tcpBacklog)),
        Setting("unixsocket", .text, .atStart, .text(\.unixsocket)),
        Setting("unixsocketperm", .octal, .atStart, .property(
            get: { String($0.unixsocketperm, radix: 8) },
            set: { $0.unixsocketperm = UInt32($1, radix: 8)! })),
        Setting("protected-mode", .flag, .flag(\.protectedMode)),
        Setting("requirepass", .text, .bytes(
            get: { $0.requirepass }, set: { $0.requirepass = $1 }), isSensitive: true),
        Setting("timeout", .integer(count), .number(\.timeout)),
        Setting("tcp-keepalive", .integer(count), .number(\.tcpKeepalive)),
        Setting("io-threads", .integer(0...128), .atStart, .number(\.ioThreads)),
        Setting("hz", .integer(count), .property(
            get: { String($0.hz) }, set: { $0.hz = min(500, max(1, Int($1)!)) })),
        Setting("dynamic-hz", .flag, .flag(\.dynamicHz)),
        Setting("databases", .integer(1...16384), .atStart, .number(\.databases)),
    ]

    /// What OBJECT ENCODING calls a compact encoding.
    private static let encodings: [Setting] = [
        Setting("hash-max-listpack-entries", alias: "hash-max-ziplist-entries", .integer(any),
            .number(\.encodingLimits.hashEntries)),
        Setting("hash-max-listpack-value", alias: "hash-max-ziplist-value", .memory(any),
            .number(\.encodingLimits.hashValue)),
        Setting("set-max-intset-entries", .integer(any), .number(\.encodingLimits.setIntsetEntries)),
        Setting("zset-max-listpack-entries", alias: "zset-max-ziplist-entries", .integer(any),
            .number(\.encodingLimits.sortedSetEntries)),
        Setting("stream-node-max-bytes", .memory(any), .number(\.streamLimits.bytes)),
        Setting("stream-node-max-entries", .integer(any), .number(\.streamLimits.entries)),
        Setting("zset-max-listpack-value", alias: "zset-max-ziplist-value", .memory(any),
            .number(\.encodingLimits.sortedSetValue)),
    ]

    private static let limits: [Setting] = [
        Setting("maxclients", .integer(1...Int64(UInt32.max)), .number(\.maxclients)),
        Setting("client-query-buffer-limit", .memory(1 << 20...0xfff0_0000),
            .number(\.requestLimits.requestBytes)),
        Setting("proto-max-bulk-len", .memory(1 << 20...1 << 31),
            .number(\.requestLimits.bulkBytes)),
        Setting("client-output-buffer-limit", .checked(isList: true, OutputLimitText.check),
            .property(
                get: { OutputLimitText.write($0.outputLimits) },
                set: { $0.outputLimits = OutputLimitText.read($1) })),
    ]

    private static let memory: [Setting] = [
        Setting("maxmemory", .memory(any), .number(\.maxmemory)),
        Setting("hll-sparse-max-bytes", .memory(any), .number(\.hllSparseMaxBytes)),
        Setting("maxmemory-policy", .choice([
            "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru",
            "allkeys-lfu", "allkeys-random", "noeviction",
        ]), .property(
            get: { $0.maxmemoryPolicy.rawValue },
            set: { $0.maxmemoryPolicy = EvictionPolicy(rawValue: $1)! })),
    ]

    private static let observation: [Setting] = [
        Setting("slowlog-log-slower-than", .integer(-1...Int64.max), .property(
            get: { String($0.slowlogLogSlowerThan) },
            set: { $0.slowlogLogSlowerThan = Int64($1)! })),
        Setting("slowlog-max-len", .integer(any), .number(\.slowlogMaxLength)),
        Setting("latency-monitor-threshold", .integer(any), .property(
            get: { String($0.latencyMonitorThreshold) },
            set: { $0.latencyMonitorThreshold = Int64($1)! })),
        Setting("latency-tracking", .flag, .flag(\.latencyTracking)),
        Setting("latency-tracking-info-percentiles",
            .checked(isList: true, SettingChecks.percentiles), .property(
                get: { $0.latencyPercentiles.map(SettingChecks.percentile).joined(separator: " ") },
                set: { $0.latencyPercentiles = $1.split(separator: " ").map { Double($0)! } })),
        Setting("loglevel", .choice(LogLevel.allCases.map { "\($0)" }), .property(
            get: { "\($0.loglevel)" },
            set: { configuration, name in
                configuration.loglevel = LogLevel.allCases.first { "\($0)" == name }!
            })),
        Setting("logfile", .text, .atStart, .text(\.logfile)),
        Setting("always-show-logo", .flag, .atStart, .flag(\.alwaysShowLogo)),
    ]

    private static let appendOnly: [Setting] = [
        Setting("appendonly", .flag, .flag(\.appendOnly)),
        Setting("appendfsync", .choice(["everysec", "always", "no"]), .property(
            get: { $0.appendSync.rawValue }, set: { $0.appendSync = CommitPolicy(rawValue: $1)! })),
        Setting("appendfilename", .checked(isList: false, SettingChecks.fileName), .atStart,
            .text(\.appendFile)),
        Setting("appenddirname", .checked(isList: false, SettingChecks.fileName), .atStart,
            .text(\.appendDirectory)),
        Setting("no-appendfsync-on-rewrite", .flag, .flag(\.suspendsSync)),
        Setting("aof-load-truncated", .flag, .flag(\.loadsTruncated)),
        Setting("key-load-delay", .integer(count), .live, .number(\.keyLoadDelay), isHidden: true),
        Setting("auto-aof-rewrite-percentage", .integer(count), .number(\.rewritePercentage)),
        Setting("auto-aof-rewrite-min-size", .memory(any), .number(\.rewriteMinBytes)),
    ]

    private static let tier: [Setting] = [
        Setting("dir", .text, .protected, .property(
            get: { Configuration.absolute($0.dir) }, set: { $0.dir = Configuration.absolute($1) })),
        Setting("load", .text, .atStart, .text(\.load)),
        Setting("tier-path", .text, .atStart, .text(\.tierPath)),
        Setting("tier-max-bytes", .memory(any), .atStart, .number(\.tierMaxBytes)),
        Setting(
            "tier-max-value", .memory(0...Int64(UInt32.max)), .atStart, .number(\.tierMaxValue)),
        Setting(
            "tier-segment-bytes", .checked(isList: false, SettingChecks.segmentBytes), .atStart,
            .number(\.tierSegmentBytes), isHidden: true),
        Setting(
            "tier-backup-every", .checked(isList: false, SettingChecks.seconds), .number(\.backupSeconds)),
        Setting("tier-backup-keep", .integer(1...10_000), .number(\.backupsKept)),
    ]
}

extension Setting.Place {
    /// A property that holds a whole number.
    static func number(
        _ property: any ReferenceWritableKeyPath<Configuration, Int> & Sendable
    ) -> Setting.Place {
        .property(
            get: { String($0[keyPath: property]) }, set: { $0[keyPath: property] = Int($1)! })
    }

    static func flag(
        _ property: any ReferenceWritableKeyPath<Configuration, Bool> & Sendable
    ) -> Setting.Place {
        .property(
            get: { $0[keyPath: property] ? "yes" : "no" },
            set: { $0[keyPath: property] = $1 == "yes" })
    }

    static func text(
        _ property: any ReferenceWritableKeyPath<Configuration, String> & Sendable
    ) -> Setting.Place {
        .property(get: { $0[keyPath: property] }, set: { $0[keyPath: property] = $1 })
    }
}

extension Setting {
    /// A live setting.
    init(
        _ name: String, alias: String? = nil, _ kind: Kind, _ place: Place,
        isSensitive: Bool = false,
        unavailable: String? = nil
    ) {
        self.init(
            name, alias: alias, kind, .live, place, isSensitive: isSensitive,
            unavailable: unavailable)
    }
}

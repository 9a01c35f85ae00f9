import Glibc
import Primitives
import RESPWire
import TieredStore

/// Every setting: what the configuration file, the command line and CONFIG read and change.
/// Changed only while the world is stopped. The rows are in `SettingTable`.
public final class Configuration: @unchecked Sendable {
    public var requirepass: [UInt8] = []
    /// Microseconds; negative turns the slow log off.
    public var slowlogLogSlowerThan: Int64 = 10000
    /// Milliseconds a script runs before other clients are told so.
    public var busyReplyThreshold = 5000
    public var slowlogMaxLength = 128
    /// Milliseconds; 0 turns the latency monitor off.
    public var latencyMonitorThreshold: Int64 = 0
    /// Kept and given back: calls have no histograms yet, and INFO latencystats is empty.
    public var latencyTracking = true
    /// A sparse HyperLogLog of more bytes becomes dense.
    public var hllSparseMaxBytes = 3000
    public var latencyPercentiles = [50, 99, 99.9]
    public var requestLimits = RequestLimits()
    public var outputLimits = OutputLimits()
    public var port = 6379
    public var bind = ["127.0.0.1", "-::1"]
    public var unixsocket = ""
    public var unixsocketperm: UInt32 = 0
    public var tcpBacklog = 511
    /// Absolute when it was given.
    public var dir = "."
    /// Bytes; 0: 80 % of the machine's RAM.
    public var maxmemory = 0
    public var maxmemoryPolicy = EvictionPolicy.noEviction
    public var encodingLimits = EncodingLimits()
    public var streamLimits = Stream.Limits()
    public var databases = 16
    /// Seconds; 0 keeps idle clients.
    public var timeout = 0
    public var tcpKeepalive = 300
    public var maxclients = 10000
    /// Event loops; 0: one a core.
    public var ioThreads = 0
    public var loglevel = LogLevel.notice
    public var logfile = ""
    public var hz = 10
    public var dynamicHz = true
    /// Keys clients may have in their caches and are told of; 0: any number.
    public var trackingTableMaxKeys = 1_000_000
    /// notify-keyspace-events.
    public var notifications: KeyspaceEvent = []
    public var alwaysShowLogo = false
    /// Changes within so many seconds after which everything is saved.
    public struct SavePoint: Sendable, Equatable {
        public var seconds: Int64
        public var changes: UInt64
    }
    public var savePoints: [SavePoint] = []
    /// stop-writes-on-bgsave-error: with save points, nothing is written while the last save has failed.
    public var stopsWritesUnsaved = true
    public var dbfilename = "dump.rdb"
    /// An RDB file to begin with, wherever it is.
    public var load = ""
    public var rdbChecksum = true
    public var appendOnly = false
    public var appendSync = CommitPolicy.everySecond
    public var appendFile = "appendonly.aof"
    /// In `dir`.
    public var appendDirectory = "appendonlydir"
    public var appendManifest: String { "\(appendDirectory)/\(appendFile).manifest" }
    /// Nothing is made durable while the append-only file is rewritten.
    public var suspendsSync = false
    /// A torn end of the append-only file is cut off, not refused.
    public var loadsTruncated = true
    /// Microseconds before each piece of the checkpoint or the log that is read at the start: for tests
    /// (Redis 7.0 has it too, before each key).
    public var keyLoadDelay = 0
    /// The append-only file is rewritten when it has grown by so many percent, and is larger than so many
    /// bytes; 0 percent: never by itself.
    public var rewritePercentage = 100
    public var rewriteMinBytes = 64 << 20
    public var protectedMode = true
    /// Relative to `dir`.
    public var tierPath = "tier.log"
    /// Bytes; 0: 80 % of the free disk.
    public var tierMaxBytes = 0
    public var tierMaxValue = 64 << 20
    /// Bytes; hidden: for tests of small sizes.
    /// 0: as large as the tier file and the loops allow.
    public var tierSegmentBytes = 0

    /// Seconds between the backups the server takes by itself; 0: none. How many of them are kept.
    public var backupSeconds = 0
    public var backupsKept = 7

    /// Values of settings nothing here reads.
    var stored: [String: [UInt8]] = [:]
    /// Names the file or the command line gave.
    var given: Set<String> = []
    /// Absolute path of the file the settings came from; empty without one.
    public internal(set) var path = ""
    /// Called with each changed setting's name once all of a CONFIG SET have been applied.
    public var onChange: (String) -> Void = { _ in }

    public init() {}

    /// Bytes of replies a client may leave unread (client-output-buffer-limit); 0: no limit.
    public struct OutputLimits: Sendable, Equatable {
        public struct Limit: Sendable, Equatable {
            public var hardBytes: Int64
            public var softBytes: Int64
            /// How long `softBytes` may be exceeded.
            public var softSeconds: Int64
        }
        public var normal = Limit(hardBytes: 0, softBytes: 0, softSeconds: 0)
        public var replica = Limit(hardBytes: 256 << 20, softBytes: 64 << 20, softSeconds: 60)
        public var pubsub = Limit(hardBytes: 32 << 20, softBytes: 8 << 20, softSeconds: 60)
    }

    /// Why the settings cannot be used: where, the line, the reason.
    public struct ConfigurationError: Error, CustomStringConvertible {
        public let description: String
    }
}

/// Severity of a log line, least first (Redis 7.0 `loglevel`).
public enum LogLevel: Int, Comparable, Sendable, CaseIterable {
    case debug, verbose, notice, warning
    public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}

// Start: the file, then the command line.
extension Configuration {
    /// The settings for `tierd [file] [--name value …] …`: first the file's, then the command
    /// line's, which go the same way as lines of a file.
    public static func load(arguments: [String]) throws(ConfigurationError) -> Configuration {
        let configuration = Configuration()
        var options = arguments[...]
        if let first = options.first, !first.hasPrefix("--") {
            options = options.dropFirst()
            configuration.path = absolute(first)
            try configuration.read(file: first, depth: 0)
        }
        for line in commandLine(Array(options)) {
            try configuration.apply(line, at: "on the command line")
        }
        return configuration
    }

    /// The command line as lines: a word after a name is a value even if it begins with "--",
    /// and all further words up to the next name (Redis 7.0.15).
    static func commandLine(_ arguments: [String]) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var wantsValue = false
        for (i, argument) in arguments.enumerated() {
            if wantsValue || !argument.hasPrefix("--") {
                if lines.isEmpty { lines.append([]) }
                lines[lines.count - 1] += [32] + ConfigurationLine.quoted(Array(argument.utf8))
                wantsValue = false
                continue
            }
            lines.append(Array(argument.utf8.dropFirst(2)))
            wantsValue = !argument.contains(" ")
            let isLast = i == arguments.count - 1
            if argument.lowercased() == "--save", isLast || arguments[i + 1].hasPrefix("--") {
                lines[lines.count - 1] += Array(" \"\"".utf8)
                wantsValue = false
            }
        }
        return lines
    }

    private func read(file: String, depth: Int) throws(ConfigurationError) {
        guard depth < 16 else {
            throw ConfigurationError(description: "\(file): more than 16 files include each other")
        }
        guard let bytes = FileBytes.read(file) else {
            let why = String(cString: strerror(errno))
            throw ConfigurationError(
                description: "cannot open configuration file '\(file)': \(why)")
        }
        let lines = bytes.split(separator: 10, omittingEmptySubsequences: false)
        for (i, line) in lines.enumerated() {
            try apply(Array(line), at: "\(file), line \(i + 1)", depth: depth)
        }
    }

    /// Applies one line; `place` says where it stands.
    func apply(_ line: [UInt8], at place: String, depth: Int = 0) throws(ConfigurationError) {
        func refused(_ reason: String) -> ConfigurationError {
            let text = String(decoding: line, as: UTF8.self)
            return ConfigurationError(
                description: "bad configuration, \(place): '\(text)': \(reason)")
        }
        guard let words = ConfigurationLine.words(line) else {
            throw refused("Unbalanced quotes in configuration line")
        }
        guard let first = words.first else { return }
        let name = String(decoding: first, as: UTF8.self)
        if name == "include", words.count == 2 {
            return try read(file: String(decoding: words[1], as: UTF8.self), depth: depth + 1)
        }
        guard let setting = SettingTable.find(name) else {
            throw refused("Bad directive or wrong number of arguments")
        }
        guard words.count > 1 else { throw refused("wrong number of arguments") }
        do throws(Setting.Refusal) {
            setting.assign(try canonical(setting, Array(words.dropFirst())), in: self)
        } catch { throw refused(error.reason) }
        given.insert(setting.name)
    }

    /// One word given for a list is a list in quotes.
    private func canonical(
        _ setting: Setting, _ words: [[UInt8]]
    ) throws(Setting.Refusal) -> [UInt8] {
        let isQuotedList = setting.kind.isList && words.count == 1
        let value = try setting.canonical(
            isQuotedList ? ConfigurationLine.split(words[0]) : words, self)
        // Redis: each `save` line adds a pair.
        if setting.name == "save", given.contains("save"), !value.isEmpty {
            let before = setting.value(self)
            return before.isEmpty ? value : before + [32] + value
        }
        return value
    }

    /// The path from the root; "." is the working directory itself.
    static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let here = getcwd(nil, 0) else { return path }
        defer { free(here) }
        return String(cString: here) + (path == "." ? "" : "/" + path)
    }
}

// CONFIG GET, SET and REWRITE.
extension Configuration {
    /// Names and values of the settings a pattern of CONFIG GET asks for.
    func values(matching pattern: ByteView) -> [(name: String, value: [UInt8])] {
        let isGlob = pattern.buffer.contains {
            $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "[")
        }
        if !isGlob {
            let name = pattern.lowercasedText
            return SettingTable.find(name).map { [(pattern.text, $0.value(self))] } ?? []
        }
        let glob = Glob(pattern, ignoringCase: true)
        var found: [(name: String, value: [UInt8])] = []
        for setting in SettingTable.rows where !setting.isHidden {
            for name in [setting.name, setting.alias] {
                guard let name, Array(name.utf8).withView({ glob.matches($0) }) else { continue }
                found.append((name, setting.value(self)))
            }
        }
        return found
    }

    /// Sets all pairs, or none and throws the reply. The caller has stopped the world; `onChange`
    /// is the caller's to call, with the names returned.
    func set(_ pairs: [(name: [UInt8], value: [UInt8])]) throws(CommandError) -> [String] {
        func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        func refused(_ name: [UInt8], _ reason: String) -> CommandError {
            .message(
                "ERR CONFIG SET failed (possibly related to argument '\(text(name))') - \(reason)")
        }
        var settings: [Setting] = []
        for pair in pairs {
            guard let setting = SettingTable.find(text(pair.name).lowercased()) else {
                throw .message("""
                    ERR Unknown option or number of arguments for CONFIG SET - \
                    '\(text(pair.name))'
                    """)
            }
            if setting.change == .atStart { throw refused(pair.name, "can't set immutable config") }
            if setting.change == .protected {
                throw refused(pair.name, "can't set protected config")
            }
            if settings.contains(where: { $0.name == setting.name }) {
                throw refused(pair.name, "duplicate parameter")
            }
            settings.append(setting)
        }
        var values: [[UInt8]] = []
        for (setting, pair) in zip(settings, pairs) {
            let words = setting.kind.isList ? ConfigurationLine.split(pair.value) : [pair.value]
            do throws(Setting.Refusal) { values.append(try setting.canonical(words, self)) } catch {
                throw refused(pair.name, error.reason)
            }
        }
        var changed: [String] = []
        for (setting, value) in zip(settings, values) where setting.value(self) != value {
            setting.assign(value, in: self)
            changed.append(setting.name)
        }
        return changed
    }

    /// The file's text with the settings as they are now: comments, order and lines that still say
    /// the truth stay; others are replaced where they stand; what differs from the defaults and is
    /// in no line comes at the end.
    func rewritten(_ file: [UInt8]) -> [UInt8] {
        let defaults = Configuration(), fromFile = Configuration()
        for line in file.split(separator: 10) {
            try? fromFile.apply(Array(line), at: "", depth: 15)
        }
        var out: [[UInt8]] = []
        var written: Set<String> = []
        for line in file.split(separator: 10, omittingEmptySubsequences: false) {
            guard let name = ConfigurationLine.words(Array(line))?.first,
                let setting = SettingTable.find(String(decoding: name, as: UTF8.self))
            else {
                out.append(Array(line))
                continue
            }
            let value = setting.value(self)
            if setting.value(fromFile) == value {
                out.append(Array(line))
            } else if !written.contains(setting.name) {
                out.append(setting.line(value))
            }
            written.insert(setting.name)
        }
        while out.last == [] { out.removeLast() }
        let missing = SettingTable.rows.filter {
            !written.contains($0.name) && $0.value(self) != $0.value(defaults)
        }
        let header = Array("# Generated by CONFIG REWRITE".utf8)
        if !missing.isEmpty, !out.contains(header) { out.append(header) }
        out += missing.map { $0.line($0.value(self)) }
        return Array(out.joined(separator: [10])) + [10]
    }

    /// CONFIG REWRITE; returns why it could not, or nil.
    func rewrite() -> String? {
        guard let old = FileBytes.read(path), FileBytes.replace(path, with: rewritten(old)) else {
            return String(cString: strerror(errno))
        }
        return nil
    }
}

import RESPWire
import TieredStore

/// Every setting: what the configuration file, the command line and CONFIG read and change.
/// Changed only while the world is stopped.
public final class Configuration: @unchecked Sendable {
    public var requirepass: [UInt8] = []
    /// Microseconds; negative turns the slow log off.
    public var slowlogLogSlowerThan: Int64 = 10000
    public var slowlogMaxLength = 128
    /// Milliseconds; 0 turns the latency monitor off.
    public var latencyMonitorThreshold: Int64 = 0
    public var requestLimits = RequestLimits()
    public var port = 6379
    public var bind = ["127.0.0.1", "-::1"]
    public var unixsocket = ""
    public var unixsocketperm: UInt32 = 0
    public var tcpBacklog = 511
    public var dir = "."
    /// Bytes; 0: 80 % of the machine's RAM.
    public var maxmemory = 0
    public var maxmemoryPolicy = EvictionPolicy.noEviction
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
    public var protectedMode = true
    /// Relative to `dir`.
    public var tierPath = "tier.log"
    /// Bytes; 0: 80 % of the free disk.
    public var tierMaxBytes = 0
    public var tierMaxValue = 64 << 20
    /// Bytes; hidden: for tests of small sizes.
    public var tierSegmentBytes = 64 << 20

    public init() {}

    public struct ConfigurationError: Error, CustomStringConvertible {
        public let description: String
    }

    public static func load(arguments: [String]) throws(ConfigurationError) -> Configuration {
        let configuration = Configuration()
        var i = 0
        while i + 1 < arguments.count {
            let value = arguments[i + 1]
            switch arguments[i] {
            case "--port": configuration.port = Int(value)!
            case "--maxmemory": configuration.maxmemory = Int(value)! << 20
            case "--io-threads": configuration.ioThreads = Int(value)!
            case "--tier-path": configuration.tierPath = value
            case "--tier-max-bytes": configuration.tierMaxBytes = Int(value)! << 20
            case "--dir": configuration.dir = value
            default: break
            }
            i += 2
        }
        return configuration
    }
}

/// Severity of a log line, least first (Redis 7.0 `loglevel`).
public enum LogLevel: Int, Comparable, Sendable {
    case debug, verbose, notice, warning
    public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}

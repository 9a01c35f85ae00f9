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

    public init() {}
}

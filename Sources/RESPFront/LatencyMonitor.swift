import Synchronization

/// Spikes by event, at most 160 an event and one a second (LATENCY, Redis 7.0).
public final class LatencyMonitor: Sendable {
    public struct Sample: Sendable {
        /// Unix seconds.
        public var at: Int64
        public var milliseconds: Int64
    }

    public struct Series: Sendable {
        public var samples: [Sample] = []
        public var maximum: Int64 = 0
    }

    private let series = Mutex([String: Series]())

    /// Notes a spike if it reaches the threshold; 0 turns monitoring off.
    public func note(_ event: String, milliseconds: Int64, at: Int64, threshold: Int64) {
        guard threshold > 0, milliseconds >= threshold else { return }
        series.withLock { all in
            var one = all[event] ?? Series()
            one.maximum = max(one.maximum, milliseconds)
            if let last = one.samples.last, last.at == at {
                one.samples[one.samples.count - 1].milliseconds = max(last.milliseconds, milliseconds)
            } else {
                one.samples.append(Sample(at: at, milliseconds: milliseconds))
                if one.samples.count > 160 { one.samples.removeFirst() }
            }
            all[event] = one
        }
    }

    public var events: [String: Series] { series.withLock { $0 } }

    /// Forgets the named events, or all; returns how many there were.
    public func reset(_ names: [String]) -> Int {
        series.withLock { all in
            if names.isEmpty {
                defer { all = [:] }
                return all.count
            }
            return names.reduce(0) { $0 + (all.removeValue(forKey: $1) == nil ? 0 : 1) }
        }
    }
}

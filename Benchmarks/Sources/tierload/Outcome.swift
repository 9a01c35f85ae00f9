import Histogram

/// What came of a run, or of a part of it.
struct Outcome: Sendable {
    /// Nanoseconds, three significant digits, up to an hour.
    typealias Latencies = Histogram<UInt64>

    /// Of one command of the mix.
    struct Row: Sendable {
        var requests = 0
        /// Values that were not there.
        var missing = 0
        /// Values that were not what the key says.
        var wrong = 0
        var errors = 0
        var latency = Latencies(highestTrackableValue: 3_600_000_000_000)

        mutating func add(_ other: Row) {
            requests += other.requests
            missing += other.missing
            wrong += other.wrong
            errors += other.errors
            latency.add(other.latency)
        }
    }

    /// One piece of the run's time.
    struct Sample: Sendable {
        /// Nanoseconds since the start, at its end.
        var at: UInt64
        var requests: Int
        var missing: Int
        var p50: UInt64
        var p99: UInt64
        var longest: UInt64
        /// Bytes of the process --pid, 0 if there is none.
        var resident: Int
    }

    var rows: [Row]
    var samples: [Sample] = []
    var firstError = ""
    var nanoseconds: UInt64 = 0

    init(commands: Int) { rows = Array(repeating: Row(), count: commands) }

    /// All commands together.
    var total: Row {
        var sum = Row()
        for row in rows { sum.add(row) }
        return sum
    }

    mutating func add(_ other: Outcome) {
        for i in rows.indices { rows[i].add(other.rows[i]) }
        if firstError.isEmpty { firstError = other.firstError }
        nanoseconds = max(nanoseconds, other.nanoseconds)
        samples += other.samples
    }
}

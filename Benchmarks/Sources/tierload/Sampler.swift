import Glibc

/// Cuts a run into pieces of time.
struct Sampler {
    private let every: UInt64
    private let startedAt: UInt64
    private let statm: String?
    private var next: UInt64
    private var latency = Outcome.Latencies(highestTrackableValue: 3_600_000_000_000)
    private var requests = 0
    private var missing = 0

    init(_ plan: Plan, _ startedAt: UInt64) {
        every = plan.sampleEvery
        self.startedAt = startedAt
        next = startedAt + every
        statm = plan.pid == 0 ? nil : "/proc/\(plan.pid)/statm"
    }

    mutating func record(_ nanoseconds: UInt64, isMissing: Bool) {
        _ = latency.record(nanoseconds)
        requests += 1
        if isMissing { missing += 1 }
    }

    /// Ends the piece if its time is over.
    mutating func take(_ now: UInt64, _ outcome: inout Outcome) {
        guard now >= next else { return }
        outcome.samples.append(
            Outcome.Sample(
                at: now - startedAt, requests: requests, missing: missing,
                p50: latency.valueAtPercentile(50),
                p99: latency.valueAtPercentile(99), longest: requests == 0 ? 0 : latency.max,
                resident: resident()))
        latency.reset()
        requests = 0
        missing = 0
        while next <= now { next += every }
    }

    private func resident() -> Int {
        guard let statm, let file = fopen(statm, "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        fgets(&line, 128, file)
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let fields = text.split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
    }
}

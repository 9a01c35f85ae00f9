import Benchmark
import CAllocations
import Glibc

/// Allocations and requests of one iteration; `tools/micro` divides.
private let allocations = BenchmarkMetric.custom(
    "Allocations", polarity: .prefersSmaller, useScalingFactor: false)
private let requests = BenchmarkMetric.custom(
    "Requests", polarity: .prefersLarger, useScalingFactor: false)

/// Measures a body of the library; it is prepared before the first iteration, on the measuring thread.
private func measure(_ index: Int, of bodies: Bodies) {
    let count = bodies.requests(index)
    var prepared: UnsafeMutableRawPointer?
    _ = Benchmark(bodies.name(index), closure: { benchmark in
        let body = prepared ?? bodies.prepare(index)
        prepared = body
        let before = allocations_count()
        benchmark.startMeasurement()
        bodies.run(body, count)
        benchmark.stopMeasurement()
        benchmark.measurement(allocations, Int(allocations_count() - before))
        benchmark.measurement(requests, count)
    }, teardown: {
        if let body = prepared { bodies.end(body) }
        prepared = nil
    })
}

let benchmarks: @Sendable () -> Void = {
    // Throughput: the format the results are exported in wants it.
    Benchmark.defaultConfiguration = Benchmark.Configuration(
        metrics: [.wallClock, .throughput, allocations, requests], warmupIterations: 2,
        maxDuration: .milliseconds(500), maxIterations: 2000)
    let bodies = Bodies()
    for index in 0..<bodies.count() { measure(index, of: bodies) }
}

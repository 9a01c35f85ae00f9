import ArgumentParser
import Foundation
import Primitives
import TieredStore

/// RAM hit ratio of the store's policy, by driving the store itself, beside true LRU and the optimum with the
/// same number of values.
@main
struct HitRatio: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hitratio",
        abstract: "RAM hit ratio of tierd's store, of true LRU and of the optimum on the same accesses.",
        discussion: """
            The store runs as in the server, on a disk in memory. LRU and the optimum hold at each moment \
            as many values as the store does. One JSON line per trace and size with --json.
            """)

    @Option(help: "A libCacheSim CSV trace, plain or gzip; may be repeated.") var trace: [String] = []
    @Option(help: "Keys of the synthetic traces.") var keys = 100_000
    @Option(help: "Accesses of the synthetic traces.") var accesses = 4_000_000
    @Option(help: "Bytes of a value.") var valueBytes = 500
    @Option(help: "Percent of the values that fit into RAM; may be repeated.") var ram: [Int] = []
    @Flag(help: "JSON lines.") var json = false

    func run() throws {
        var traces = try trace.map(Trace.file)
        traces += [0.8, 0.99, 1.2].map { Trace.zipf($0, keys: keys, count: accesses) }
        traces.append(Trace.loopAndScan(keys: keys, count: accesses))
        for trace in traces {
            for percent in ram.isEmpty ? [5, 20, 50] : ram { report(trace, percent) }
        }
    }

    private func report(_ trace: Trace, _ percent: Int) {
        let run = StoreRun(trace, percent: percent, valueBytes: valueBytes)
        let (store, lru, optimum) = run.ratios()
        let verdict = store >= lru ? "" : "  lower"
        let line =
            json
            ? """
            {"trace": "\(trace.name)", "ram_percent": \(percent), "values": \(run.meanResident), \
            "tierd": \(store), "lru": \(lru), "optimum": \(optimum), \
            "visits_per_demotion": \(run.visitsPerDemotion)}
            """
            : String(
                format:
                    "%@ RAM %2d%%  %6d values  tierd %.4f  LRU %.4f  optimum %.4f  %4.1f visits a demotion%@",
                trace.name.padding(toLength: 24, withPad: " ", startingAt: 0), percent,
                run.meanResident, store, lru, optimum, run.visitsPerDemotion, verdict)
        print(line)
    }
}

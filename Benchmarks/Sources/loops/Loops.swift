import ArgumentParser
import Foundation
import Primitives
import RESPFront
import TieredStore

/// What a second event loop adds: requests a second of 1 and of N loops over one store, each loop a
/// thread with its own front and session, fed with pipelined requests from memory.
@main
struct Loops: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Throughput of 1 and of N event loops in process, without a network.")

    @Option(help: "Loops to compare with one.") var loops = 2
    @Option(name: .shortAndLong, help: "Key space.") var keys = 1_000_000
    @Option(name: .shortAndLong, help: "Bytes a value.") var dataSize = 500
    @Option(name: [.customShort("P"), .long], help: "Requests in flight a session.") var pipeline = 16
    @Option(help: "Share of SET among the requests.") var sets = 0.1
    @Option(help: "Seconds a run; runs alternate.") var seconds = 2.0
    @Option(help: "Runs of each.") var repeats = 3

    func run() throws {
        var rates: [Int: [Double]] = [:]
        for _ in 0..<repeats {
            for count in [1, loops] { rates[count, default: []].append(rate(count)) }
        }
        let one = rates[1]!.sorted()[repeats / 2], many = rates[loops]!.sorted()[repeats / 2]
        print(String(
            format: #"{"name": "loops", "loops": %d, "one": %.0f, "many": %.0f, "ratio": %.3f}"#,
            loops, one, many, many / one))
    }

    /// Requests a second with `count` loops.
    private func rate(_ count: Int) -> Double {
        var options = StoreOptions()
        options.workers = count
        options.memoryLimit = 4 << 30
        guard let store = Store(options) else { fatalError("no address space") }
        let server = ServerState(
            store: store, configuration: Configuration(), now: 1_800_000_000_000, processID: 1, seed: 1,
            ticksPerMicrosecond: 2000)
        defer { server.tearDown() }
        let feeders = (0..<count).map { Feeder(server.fronts[$0], self, seed: UInt64($0 + 1)) }
        feeders[0].fill()
        let barrier = DispatchGroup()
        let end = DispatchTime.now() + seconds
        for feeder in feeders {
            Thread.detachNewThread(feeder, in: barrier) { feeder.work(until: end.uptimeNanoseconds) }
        }
        barrier.wait()
        return Double(feeders.reduce(0) { $0 + $1.answered }) / seconds
    }
}

extension Thread {
    /// Runs `body` on a thread of its own; the group is left when it ends.
    fileprivate static func detachNewThread(
        _ feeder: Feeder, in group: DispatchGroup, _ body: @escaping @Sendable () -> Void
    ) {
        group.enter()
        detachNewThread {
            body()
            group.leave()
        }
    }
}

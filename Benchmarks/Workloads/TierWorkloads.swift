import Primitives
import RESPFront
import TieredStore

extension Workload {
    static let tierWorkloads = [
        Workload("get-cold", "GET of 500 bytes on the disk, promoted, and demoted again", count: 1600) {
            let bench = Workbench()
            demoted(2048, bench)
            let order = Data.shuffled(2048)
            let tape = Tape(groups: stride(from: 0, to: order.count, by: Workbench.depth).map { first in
                let keys = order[first..<(first + Workbench.depth)].map { Data.key($0) }
                let demotion = (["TIER", "DEMOTE"] + keys).map { Array($0.utf8) }
                return keys.map { request("GET", $0) } + [demotion]
            }, requestsEach: Workbench.depth)
            return { count in
                let before = bench.worker.counters.promotions
                bench.run(tape, count)
                precondition(bench.worker.counters.promotions - before >= UInt64(count), "was in RAM")
            }
        },
        Workload("cold-read", "a read of 500 bytes on the disk for one command, not promoted", count: 1600) {
            let bench = Workbench()
            demoted(2048, bench)
            let keys = DirectKeys(bench, Data.shuffled(2048))
            return keys.readCold
        },
        Workload("append", "a value of 500 random bytes changed and written to the log", count: 1600) {
            let keys = DirectKeys(Workbench(), Array(0..<1024))
            let value = Data.random(500)
            return { keys.append($0, value) }
        },
        Workload("append-lz4", "as append, 500 bytes that LZ4 shrinks", count: 1600) {
            let keys = DirectKeys(Workbench(), Array(0..<1024))
            let value = Array("{\"name\": \"value\", \"number\": 12345, \"list\": [1, 2, 3]}, ".utf8)
            let values = Array((0..<9).map { _ in value }.joined())
            return { keys.append($0, values) }
        },
        Workload("ingest", "SET of 500 bytes, twice as many as RAM holds, with compaction", count: 4000) {
            let bench = Workbench(memory: 1 << 20) {
                $0.segmentSize = 128 << 10
                $0.tierCapacity = 3 << 20
                $0.writeBufferSize = 16 << 10
                $0.pageSize = 4 << 10
            }
            let value = Data.random(500)
            var random = Random(seed: 11)
            // Drawn, not shuffled: what is written together must not die together.
            let tape = Tape((0..<8192).map { _ in
                [Array("SET".utf8), Array(Data.key(Int(random.below(4096))).utf8), value]
            })
            bench.run(tape, 8192)
            return { count in
                let before = bench.worker.counters
                bench.run(tape, count)
                precondition(
                    bench.worker.counters.demotions - before.demotions > UInt64(count / 3)
                        && bench.worker.counters.relocations > 0,
                    "nothing left RAM, or nothing was compacted")
            }
        },
    ]

    /// Values of 500 bytes on the disk.
    private static func demoted(_ keys: Int, _ bench: Workbench) {
        let value = Data.random(500)
        for first in stride(from: 0, to: keys, by: Workbench.depth) {
            let names = (first..<(first + Workbench.depth)).map { Data.key($0) }
            bench.run(names.map { [Array("SET".utf8), Array($0.utf8), value] })
            bench.run([(["TIER", "DEMOTE"] + names).map { Array($0.utf8) }])
        }
        precondition(bench.store.demotedItems == keys, "still in RAM")
    }
}

/// Keys as a handler sees them, without sessions and commands.
private final class DirectKeys {
    private let bench: Workbench
    private let staged: StagedKeys
    private let names: [[UInt8]]
    private let hashes: [UInt64]
    private var at = 0

    init(_ bench: Workbench, _ numbers: [Int]) {
        self.bench = bench
        staged = StagedKeys(bench.worker)
        // Reads that do not count as uses promote nothing.
        staged.touches = false
        names = numbers.map { Array(Data.key($0).utf8) }
        hashes = names.map { $0.withView { bench.worker.hash($0) } }
    }

    private func withNext(_ body: () -> Void) {
        names[at].withView { staged.add($0, hash: hashes[at], database: 0) }
        body()
        staged.end()
        at = at + 1 == names.count ? 0 : at + 1
    }

    func readCold(_ count: Int) {
        let worker = bench.worker
        for _ in 0..<count {
            var record: StagedRecord?
            withNext {
                guard case .reading(let staged) = staged.stage(0, token: .max)
                else { fatalError("is in RAM") }
                record = staged
                bench.turn()
                let value = try? self.staged.string(0)
                precondition(value?.count == 500, "not read")
            }
            worker.unstage(record!)
        }
    }

    func append(_ count: Int, _ value: [UInt8]) {
        for i in 0..<count {
            withNext {
                value.withView { staged.setString(0, $0) }
                guard case .started = staged.demote(0) else { fatalError("not written") }
            }
            if i % Workbench.depth == 0 { bench.turn() }
        }
    }
}

import Primitives
import Testing

@testable import TieredStore

/// Large collections going to the SSD and coming back, a slice a turn.
@Suite struct LargeCollectionTests {
    private func makeBench() throws -> StoreBench {
        try StoreBench {
            $0.memoryLimit = 256 << 20
            $0.addressSpace = 256 << 20
            $0.segmentSize = 16 << 20
            $0.tierCapacity = 128 << 20
            $0.writeBufferSize = 64 << 10
            $0.pageSize = 64 << 10
        }
    }

    /// A hash of `count` fields at "h".
    private func fill(_ bench: StoreBench, _ count: Int) throws {
        try bench.with(["h"]) { keys in
            let hash = try keys.hash(0)
            for i in 0..<count {
                try Array("field:\(i)".utf8).withView { field in
                    _ = try Array("value:\(i)".utf8).withView { try hash.set(field, $0) }
                }
            }
        }
    }

    private func value(_ bench: StoreBench, _ field: String) throws -> String? {
        let staged = bench.stage("h")
        // Arrives slice by slice.
        for _ in 0..<200 where !bench.worker.hasRunnable { bench.turn() }
        defer { if let staged { bench.worker.unstage(staged) } }
        return try bench.with(["h"]) { keys in
            try Array(field.utf8).withView { try keys.hash(0).value($0)?.array }
        }.map { String(decoding: $0, as: UTF8.self) }
    }

    private func residency(_ bench: StoreBench) -> StagedKeys.Residency {
        bench.with(["h"]) { $0.residency(0) }
    }

    @Test func aLargeHashIsWrittenAndReadInSlices() throws {
        let bench = try makeBench()
        try fill(bench, 20_000)
        let held = bench.store.ledger.used
        #expect(bench.with(["h"]) { $0.demote(0) } == .started)
        bench.collect()
        #expect(bench.writes == 0, "one slice is not all of it")
        var turns = 0
        while residency(bench) != .demoted, turns < 100 {
            bench.turn()
            turns += 1
        }
        #expect(turns > 5 && turns < 100)
        for _ in 0..<20 { bench.turn() }
        #expect(bench.store.ledger.used < held - (512 << 10), "its RAM is given back")
        #expect(try value(bench, "field:19999") == "value:19999")
        #expect(residency(bench) == .residentClean)
        #expect(try bench.with(["h"]) { try $0.hash(0).count() } == 20_000)
        // Clean: leaves without a write.
        let writes = bench.writes
        #expect(bench.with(["h"]) { $0.demote(0) } == .demoted)
        #expect(bench.writes == writes)
    }

    @Test func aChangeWhileItIsWrittenKeepsItInRAM() throws {
        let bench = try makeBench()
        try fill(bench, 20_000)
        #expect(bench.with(["h"]) { $0.demote(0) } == .started)
        bench.turn(2)
        try bench.with(["h"]) { keys in _ = try keys.hash(0).remove(ByteView("field:7")) }
        for _ in 0..<100 { bench.turn() }
        #expect(residency(bench) == .residentDirty)
        #expect(try value(bench, "field:7") == nil && value(bench, "field:8") == "value:8")
        // And it can go afterwards.
        #expect(bench.with(["h"]) { $0.demote(0) } == .started)
        for _ in 0..<100 { bench.turn() }
        #expect(residency(bench) == .demoted)
        #expect(try value(bench, "field:7") == nil && value(bench, "field:8") == "value:8")
    }

    @Test func deletingItWhileItIsWrittenOrReadIsSafe() throws {
        let bench = try makeBench()
        try fill(bench, 20_000)
        #expect(bench.with(["h"]) { $0.demote(0) } == .started)
        bench.turn(2)
        #expect(bench.with(["h"]) { $0.delete(0) })
        for _ in 0..<100 { bench.turn() }
        try fill(bench, 20_000)
        #expect(bench.with(["h"]) { $0.demote(0) } == .started)
        for _ in 0..<100 { bench.turn() }
        #expect(residency(bench) == .demoted)
        let staged = try #require(bench.stage("h"))
        bench.turn(1)
        #expect(bench.with(["h"]) { $0.delete(0) })
        for _ in 0..<100 { bench.turn() }
        bench.worker.unstage(staged)
        #expect(bench.store.keyCount(database: 0) == 0)
    }

    @Test func aDamagedRecordIsNeverRead() throws {
        let bench = try makeBench()
        try fill(bench, 20_000)
        #expect(bench.with(["h"]) { $0.demote(0) } == .started)
        for _ in 0..<100 { bench.turn() }
        #expect(residency(bench) == .demoted)
        bench.damage = { memory, count in
            let at = memory + count / 2
            at.storeBytes(of: at.load(as: UInt8.self) ^ 4, as: UInt8.self)
        }
        #expect(throws: CommandError.unreadable) { try self.value(bench, "field:1") }
    }

    @Test func renamingMovesItWithoutACopy() throws {
        let bench = try makeBench()
        try fill(bench, 20_000)
        let before = bench.store.ledger.used
        try bench.with(["h", "other"]) { keys in
            #expect(keys.movesWithoutCopy(0))
            try keys.move(0, to: 1)
            #expect(!keys.exists(0))
            #expect(try keys.hash(1).count() == 20_000)
        }
        #expect(bench.store.ledger.used < before + (128 << 10))
        try bench.with(["other", "h"]) { keys in try keys.copy(0, to: 1) }
        #expect(try value(bench, "field:123") == "value:123")
    }
}

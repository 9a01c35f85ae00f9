import Primitives
import Testing

@testable import TieredStore

/// Method: walks in steps while keys come and go between them, so that tables grow and shrink under
/// the cursor; what was there all the time must have been visited.
@Suite struct WalkTests {
    private func scan(
        _ bench: StoreBench, _ cursor: UInt64, count: Int, database: Int = 0
    ) -> (next: UInt64, keys: [String]) {
        var keys: [String] = []
        let next = bench.worker.scan(database: database, cursor: cursor, count: count) { key, _ in
            keys.append(key.text)
        }
        return (next, keys)
    }

    /// Walks to the end; `between` runs after each step.
    private func walk(
        _ bench: StoreBench, count: Int, database: Int = 0, between: (Int) -> Void = { _ in }
    ) throws -> [String] {
        var cursor: UInt64 = 0, found: [String] = [], steps = 0
        repeat {
            let (next, keys) = scan(bench, cursor, count: count, database: database)
            found += keys
            cursor = next
            between(steps)
            steps += 1
            try #require(steps < 20_000, "the walk has no end")
        } while cursor != 0
        return found
    }

    private func add(_ bench: StoreBench, _ names: [String], database: Int = 0) {
        for name in names { bench.set(name, [1], database: database) }
    }

    @Test(arguments: [1, 10, 1000, Int.max]) func aQuietWalkVisitsEachKeyOnce(_ count: Int) throws {
        let bench = try StoreBench { $0.memoryLimit = 8 << 20 }
        let names = (0..<2000).map { "key\($0)" }
        add(bench, names)
        #expect(try walk(bench, count: count).sorted() == names.sorted())
    }

    @Test func anEmptyDatabaseIsWalkedInOneStep() throws {
        let bench = try StoreBench()
        add(bench, ["elsewhere"], database: 1)
        #expect(scan(bench, 0, count: 10) == (0, []))
        #expect(try walk(bench, count: 10, database: 1) == ["elsewhere"])
    }

    @Test func aStepVisitsAboutAsManyKeysAsAskedFor() throws {
        let bench = try StoreBench { $0.memoryLimit = 8 << 20 }
        add(bench, (0..<3000).map { "key\($0)" })
        for count in [1, 10, 100] {
            var cursor: UInt64 = 0
            repeat {
                let (next, keys) = scan(bench, cursor, count: count)
                if next != 0 { #expect(keys.count >= count && keys.count < count + 40) }
                cursor = next
            } while cursor != 0
        }
    }

    @Test(arguments: [1, 7, 100], [UInt64(1), 2]) func whatIsThereThroughoutIsVisitedWhileTablesGrow(
        _ count: Int, _ seed: UInt64
    ) throws {
        let bench = try StoreBench { $0.memoryLimit = 8 << 20 }
        let names = (0..<300).map { "stays\($0)" }
        add(bench, names)
        var random = Random(seed: seed)
        let found = try walk(bench, count: count) { step in
            if step < 2000 { add(bench, (0..<5).map { _ in "new\(random.next())" }) }
        }
        #expect(Set(found).isSuperset(of: names))
    }

    @Test(arguments: [1, 7, 100], [UInt64(1), 2]) func whatIsThereThroughoutIsVisitedWhileTablesShrink(
        _ count: Int, _ seed: UInt64
    ) throws {
        let bench = try StoreBench { $0.memoryLimit = 8 << 20 }
        let names = (0..<100).map { "stays\($0)" }
        var others = (0..<6000).map { "goes\($0)" }
        add(bench, names + others)
        var random = Random(seed: seed)
        others.shuffle(using: &random)
        let found = try walk(bench, count: count) { _ in
            for _ in 0..<min(others.count, 4 * count) { _ = bench.delete(others.removeLast()) }
        }
        #expect(Set(found).isSuperset(of: names))
    }

    @Test(arguments: 1...4) func whatIsThereThroughoutIsVisitedWhileTablesDoBoth(_ seed: UInt64) throws {
        let bench = try StoreBench { $0.memoryLimit = 8 << 20 }
        let names = (0..<200).map { "stays\($0)" }
        add(bench, names)
        var random = Random(seed: seed), others: [String] = []
        let found = try walk(bench, count: 3) { step in
            guard step < 3000 else { return }
            if step % 40 < 20 {
                others += (0..<60).map { _ in "new\(random.next())" }
                add(bench, others.suffix(60))
            } else {
                for _ in 0..<min(60, others.count) {
                    others.swapAt(Int(random.below(UInt64(others.count))), others.count - 1)
                    _ = bench.delete(others.removeLast())
                }
            }
        }
        #expect(Set(found).isSuperset(of: names))
    }

    @Test func anyCursorIsTakenAndAWalkFromItEnds() throws {
        let bench = try StoreBench()
        add(bench, (0..<200).map { "key\($0)" })
        var random = Random(seed: 3)
        var cursors: [UInt64] = [.max, 1, 1 << 22, 1 << 23, 16 << 23, 1 << 63]
        for bits in 20..<64 { cursors.append(random.next() >> UInt64(64 - bits)) }
        for cursor in cursors {
            var at = cursor, steps = 0
            repeat {
                at = scan(bench, at, count: 5).next
                steps += 1
            } while at != 0 && steps < 1000
            #expect(at == 0, "cursor \(cursor)")
        }
    }

    @Test func expiredKeysAreNotShown() throws {
        let bench = try StoreBench()
        bench.set("gone", [1], expiry: .at(bench.now + 5))
        add(bench, ["here"])
        bench.advance(milliseconds: 5)
        #expect(try walk(bench, count: 10) == ["here"])
    }

    @Test func everyKeyCanComeAtRandomAndNoneFromAnEmptyDatabase() throws {
        let bench = try StoreBench()
        #expect(bench.worker.randomKey(database: 0) == nil)
        let names = (0..<20).map { "key\($0)" }
        add(bench, names)
        var seen: Set<String> = []
        for _ in 0..<3000 {
            seen.insert(String(decoding: try #require(bench.worker.randomKey(database: 0)), as: UTF8.self))
        }
        #expect(seen == Set(names))
    }

    @Test func flushingFreesRAMAndLogOfOneDatabaseOnly() throws {
        let bench = try StoreBench()
        for i in 0..<50 {
            bench.set("key\(i)", StoreBench.noise(i * 300))
            bench.set("other\(i)", StoreBench.noise(100), database: 1)
        }
        bench.demote((0..<25).map { "key\($0 * 2)" })
        #expect(bench.store.log.liveBytes > 0)
        #expect(bench.worker.flush(database: 0) == 50)
        #expect(bench.store.keyCount(database: 0) == 0)
        #expect(bench.store.keyCount(database: 1) == 50)
        #expect(bench.store.log.liveBytes == 0)
        #expect(bench.store.residentItems == 50)
        #expect(bench.worker.flush(database: 1) == 50)
        #expect(bench.worker.flush(database: 1) == 0)
        #expect(bench.store.slabUsage.live == 0)
        #expect(try bench.get("key3") == nil)
    }
}

import Primitives
import Testing

@testable import TieredStore

/// Proves that the index finds what is in it, and nothing else, whatever came and went.
struct TableTests {
    /// A table with entries in memory of its own; keys are numbers, `hash` says where they live.
    private final class Bench {
        static let stride = 32
        let store: Store
        let base: UnsafeMutableRawPointer
        let tags: UInt64
        var table = Table()
        /// Key → offset of its entry.
        var model: [UInt64: UInt64] = [:]
        private var free: [UInt64]

        /// `tags`: how many different tags the hashes have.
        init(keys: Int, tags: UInt64 = 1 << 23) throws {
            store = try #require(Store(.tiny))
            base = .allocate(byteCount: (keys + 1) * Bench.stride, alignment: 64)
            free = (1...UInt64(keys)).map { $0 * UInt64(Bench.stride) }
            self.tags = tags
        }

        deinit {
            table.destroy(store.extents)
            store.tearDown()
            base.deallocate()
        }

        func hash(_ key: UInt64) -> UInt64 {
            let mixed = key &* 0x9e37_79b9_7f4a_7c15
            return (mixed >> 20) % tags &* ((1 << 23) / tags) << 31
        }

        func find(_ key: UInt64) -> UnsafeMutablePointer<Table.Slot>? {
            withUnsafeBytes(of: key) { table.find(hash(key), ByteView($0), base: base) }
        }

        /// Inserts a key that is not there, without asking the table to grow.
        func put(_ key: UInt64) throws {
            let last = free.popLast(), offset = try #require(last)
            withUnsafeBytes(of: key) {
                Entry(base + Int(offset)).initialise(type: .string, key: ByteView($0), expiry: nil)
            }
            let content = offset | (key & 1 == 0 ? Table.residentBit : Table.volatileBit)
            let slot = table.insert(Table.tag(hash(key)), content)
            #expect(slot.pointee & ~(Table.overflowBit | Table.tagMask) == content)
            model[key] = offset
        }

        /// False when the table has no room for one more and RAM none for a larger one.
        func reserve() -> Bool {
            if table.wantsRebuild { table.rebuildForOne(store.extents, reserve: 0) }
            return table.count < table.buckets * 8 - 1
        }

        func remove(_ key: UInt64) throws {
            table.remove(try #require(find(key)))
            let offset = model.removeValue(forKey: key)
            free.append(try #require(offset))
        }

        var marked: Int {
            (0..<Int(table.buckets)).count { table.slots![$0 * 8] & Table.overflowBit != 0 }
        }

        /// Every key is found where it is, exactly once by its home, and no other key is.
        func check(absent: Range<UInt64>) {
            #expect(table.count == model.count)
            for (key, offset) in model {
                let slot = find(key)?.pointee ?? 0
                #expect(slot & Table.offsetMask == offset, "key \(key)")
                #expect((slot & Table.residentBit != 0) == (key & 1 == 0))
                #expect((slot & Table.volatileBit != 0) == (key & 1 == 1))
            }
            for key in absent where model[key] == nil {
                #expect(find(key) == nil, "absent key \(key)")
            }
            var seen: [UInt64] = []
            for bucket in 0..<Int(table.buckets) {
                table.forEach(home: bucket) { slot in
                    #expect(table.home((slot & Table.tagMask) >> Table.tagShift) == bucket)
                    seen.append(slot & Table.offsetMask)
                }
            }
            #expect(seen.sorted() == model.values.sorted())
        }
    }

    /// Method: the same changes to a table and a dictionary, growing, churning, then shrinking.
    /// The second run's keys share 40 tags, so that they overflow through many buckets.
    @Test(arguments: [
        (1, 3000, 1 << 23), (2, 200, 40), (3, 12, 1), (4, 600, 1 << 23),
    ] as [(UInt64, Int, UInt64)])
    func itAnswersAsADictionaryDoes(_ seed: UInt64, _ size: Int, _ tags: UInt64) throws {
        let bench = try Bench(keys: size + 1, tags: tags)
        let before = bench.store.ledger.used
        var random = Random(seed: seed), largest: UInt32 = 0, present: [UInt64] = []
        let keys = UInt64(size) * 2
        for phase in 0..<8 {
            // Shares of insertions in eighths: up, about level, down to nothing.
            let share: UInt64 = [8, 6, 4, 4, 6, 4, 2, 0][phase]
            for _ in 0..<size {
                let key = random.below(keys)
                if random.below(8) < share {
                    guard bench.model.count < size, bench.model[key] == nil else { continue }
                    #expect(bench.reserve())
                    try bench.put(key)
                    present.append(key)
                } else if !present.isEmpty {
                    present.swapAt(Int(random.below(UInt64(present.count))), present.count - 1)
                    try bench.remove(present.removeLast())
                    bench.table.shrinkIfSparse(bench.store.extents)
                }
            }
            largest = max(largest, bench.table.buckets)
            bench.check(absent: 0..<keys)
        }
        #expect(largest >= UInt32(size) / 12)
        #expect(bench.table.buckets < max(5, largest / 2), "it has not shrunk")
        for key in bench.model.keys { try bench.remove(key) }
        bench.table.destroy(bench.store.extents)
        #expect(bench.find(1) == nil && bench.table.count == 0)
        #expect(bench.store.ledger.used == before)
    }

    /// Method: removals and insertions at a constant count, without the rebuild that `reserveOne`
    /// would make, until the walk has no unmarked bucket to end at.
    @Test func anAbsentKeyIsAbsentAlsoWhenEveryBucketOverflowed() throws {
        let bench = try Bench(keys: 64)
        var random = Random(seed: 5), next: UInt64 = 0
        func add() throws {
            try bench.put(next)
            next += 1
        }
        while bench.table.buckets < 4 || !bench.table.needsGrowth {
            #expect(bench.reserve())
            try add()
        }
        let buckets = Int(bench.table.buckets), count = bench.model.count
        for _ in 0..<100_000 where bench.marked < buckets {
            let keys = bench.model.keys.sorted()
            try bench.remove(keys[Int(random.below(UInt64(keys.count)))])
            try add()
        }
        #expect(bench.marked == buckets && bench.model.count == count)
        bench.check(absent: next..<next + 1000)
    }

    @Test func wornTablesAreRebuiltBeforeEveryBucketIsMarked() throws {
        let bench = try Bench(keys: 2000)
        var random = Random(seed: 6), keys: [UInt64] = []
        for key in 0..<UInt64(1300) {
            #expect(bench.reserve())
            try bench.put(key)
            keys.append(key)
        }
        var most = 0
        for key in 2000..<UInt64(42_000) {
            let at = Int(random.below(UInt64(keys.count)))
            try bench.remove(keys[at])
            #expect(bench.reserve())
            most = max(most, bench.marked * 100 / Int(bench.table.buckets))
            try bench.put(key)
            keys[at] = key
        }
        #expect(most <= 75)
        bench.check(absent: 50_000..<51_000)
    }

    @Test func withoutRAMItFillsToItsLastSlotButOne() throws {
        let bench = try Bench(keys: 2000)
        var next: UInt64 = 0
        while bench.table.buckets < 64 {
            #expect(bench.reserve())
            try bench.put(next)
            next += 1
        }
        bench.store.ledger.limit = bench.store.ledger.used
        while bench.reserve() {
            try bench.put(next)
            next += 1
        }
        #expect(bench.table.buckets == 64 && bench.table.count == 64 * 8 - 1)
        bench.check(absent: next..<next + 1000)
        bench.store.ledger.limit = 1 << 20
        #expect(bench.reserve() && bench.table.buckets == 80)
        bench.check(absent: next..<next + 1000)
    }

    @Test func homesAreInTagOrder() throws {
        let bench = try Bench(keys: 2000)
        var seen: Set<UInt32> = []
        for key in 0..<UInt64(2000) {
            #expect(bench.reserve())
            try bench.put(key)
            guard seen.insert(bench.table.buckets).inserted else { continue }
            #expect(bench.table.home(0x7f_ffff) == Int(bench.table.buckets) - 1)
            for bucket in 0..<Int(bench.table.buckets) {
                let first = bench.table.firstTag(of: bucket)
                #expect(bench.table.home(first) == bucket)
                #expect(first == 0 ? bucket == 0 : bench.table.home(first - 1) == bucket - 1)
            }
        }
        #expect(seen.sorted().prefix(12) == [1, 2, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20])
    }
}

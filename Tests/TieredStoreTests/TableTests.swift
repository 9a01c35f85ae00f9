import Primitives
import Testing

@testable import TieredStore

/// Method: one table does what a dictionary does, with hashes of its own making: well spread, or
/// so few that every bucket overflows.
@Suite struct TableTests {
    /// A table, cells for its entries, and the dictionary it must equal.
    final class Bench {
        static let cellSize = 64
        let space: AddressSpace
        let extents: Extents
        let ledger = Ledger(limit: .max / 2)
        var table = Table()
        /// Offset of each key's entry.
        var model: [UInt64: Int] = [:]
        private let homes: UInt64
        private var next = cellSize
        private var free: [Int] = []

        /// `homes`: how many hashes there are.
        init(homes: UInt64 = .max) throws {
            space = try #require(AddressSpace(byteCount: 32 << 20))
            extents = Extents(space, from: 16 << 20, ledger: ledger)
            self.homes = homes
        }

        func hash(_ number: UInt64) -> UInt64 {
            // Spread over all tags, however few there are.
            let mixed = number &* 0x9e37_79b9_7f4a_7c15
            return homes == .max ? mixed : mixed % homes &* (1 << 54 / homes)
        }

        func slot(_ number: UInt64) -> UnsafeMutablePointer<UInt64>? {
            withUnsafeBytes(of: number) { table.find(hash(number), ByteView($0), base: space.base) }
        }

        func insert(_ number: UInt64) {
            let offset = free.popLast() ?? next
            if offset == next { next += Bench.cellSize }
            withUnsafeBytes(of: number) {
                Entry(space.base + offset).initialise(type: .string, key: ByteView($0), expiry: nil)
            }
            let hasRoom = table.reserveOne(extents, reserve: 0)
            #expect(hasRoom)
            table.insert(Table.tag(hash(number)), UInt64(offset) | Table.residentBit)
            model[number] = offset
        }

        func remove(_ number: UInt64) {
            guard let slot = slot(number), let offset = model.removeValue(forKey: number) else {
                Issue.record("no slot for \(number)")
                return
            }
            table.remove(slot)
            table.shrinkIfSparse(extents)
            free.append(offset)
        }

        /// Whether the table finds each key of the model, at its entry.
        var findsAll: Bool {
            model.allSatisfy { number, offset in
                slot(number).map { Int($0.pointee & Table.offsetMask) } == offset
            }
        }

        /// The keys in the order of home buckets.
        var walked: [UInt64] {
            var numbers: [UInt64] = []
            for bucket in 0..<Int(table.buckets) {
                table.forEach(home: bucket) { slot in
                    let key = Entry(space.base + Int(slot & Table.offsetMask)).key
                    numbers.append(key.base.loadUnaligned(as: UInt64.self))
                }
            }
            return numbers
        }
    }

    @Test(arguments: [UInt64.max, 3, 40, 1000], [UInt64(1), 2])
    func doesWhatADictionaryDoes(_ homes: UInt64, _ seed: UInt64) throws {
        let bench = try Bench(homes: homes)
        var random = Random(seed: seed)
        // Few hashes make long chains: fewer keys then.
        let range = homes < 100 ? UInt64(150) : 3000
        for step in 0..<30_000 {
            let number = random.below(range)
            let grows = step / 5000 % 2 == 0
            if bench.model[number] == nil {
                try #require(bench.slot(number) == nil)
                if random.below(10) < (grows ? 9 : 2) { bench.insert(number) }
            } else if random.below(10) < (grows ? 1 : 8) {
                bench.remove(number)
            }
            try #require(Int(bench.table.count) == bench.model.count)
            if step % 2500 == 0 { try #require(bench.findsAll) }
        }
        #expect(bench.findsAll)
        #expect(bench.walked.sorted() == bench.model.keys.sorted())
        bench.table.destroy(bench.extents)
        #expect(bench.ledger.used == 0)
        #expect(bench.slot(1) == nil)
    }

    @Test func growsByAQuarterAtMostAndShrinksAgain() throws {
        let bench = try Bench()
        var last = 0
        for number in 0..<50_000 as Range<UInt64> {
            bench.insert(number)
            let buckets = Int(bench.table.buckets)
            if last >= 4, buckets > last { #expect(buckets * 4 <= last * 5) }
            #expect(bench.table.count <= buckets * 8)
            last = buckets
        }
        #expect(bench.table.count * 10 >= bench.table.buckets * 50)
        for number in 0..<50_000 as Range<UInt64> { bench.remove(number) }
        #expect(bench.table.buckets <= 4)
        #expect(bench.ledger.used == 0)
    }

    @Test func homeBucketsAreInTagOrder() throws {
        let bench = try Bench()
        for number in 0..<5000 as Range<UInt64> { bench.insert(number) }
        let table = bench.table
        for bucket in 0..<Int(table.buckets) {
            let first = table.firstTag(of: bucket)
            #expect(table.home(first) == bucket)
            if bucket > 0 { #expect(table.home(first - 1) == bucket - 1) }
        }
        let homes = bench.walked.map { table.home(Table.tag(bench.hash($0))) }
        #expect(homes == homes.sorted())
    }

    @Test func removingLeavesWhatOverflowedInPlace() throws {
        let bench = try Bench(homes: 1)
        for number in 0..<100 as Range<UInt64> { bench.insert(number) }
        for number in 0..<100 as Range<UInt64> where number % 10 != 3 { bench.remove(number) }
        #expect(bench.walked.sorted() == (0..<10).map { $0 * 10 + 3 })
        #expect(bench.findsAll)
    }

    @Test func withoutRAMATableFillsUpAndThenSaysSo() throws {
        let bench = try Bench()
        while bench.table.buckets < 64 { bench.insert(UInt64(bench.model.count)) }
        bench.ledger.limit = 0
        while bench.table.count < 64 * 8 - 1 { bench.insert(UInt64(bench.model.count)) }
        let hasRoom = bench.table.reserveOne(bench.extents, reserve: 0)
        #expect(!hasRoom)
        #expect(bench.findsAll)
        #expect(bench.table.buckets == 64)
        #expect(bench.slot(1 << 40) == nil)
    }
}

extension TableTests {
    /// Method: keys of one home bucket after the other are added until it overflows, then removed,
    /// so that every bucket is marked as overflown at some time.
    @Test(arguments: [3, 9, 200])
    func anAbsentKeyIsAnsweredThoughEveryBucketHasOverflown(_ keep: Int) throws {
        let bench = try Bench()
        for number in 0..<UInt64(keep) { bench.insert(number) }
        var probe: UInt64 = 1000
        for _ in 0..<4 {
            for bucket in 0..<Int(bench.table.buckets) {
                var added: [UInt64] = []
                while added.count < 9, !bench.table.needsGrowth {
                    if bench.table.home(Table.tag(bench.hash(probe))) == bucket {
                        bench.insert(probe)
                        added.append(probe)
                    }
                    probe += 1
                }
                for number in added { bench.remove(number) }
            }
        }
        #expect(bench.slot(1 << 40) == nil)
        #expect(bench.findsAll)
    }

    /// Method: a steady load just below the point of growth, keys coming and going.
    @Test func marksOfOverflowDoNotPileUpUnderASteadyLoad() throws {
        let bench = try Bench()
        var random = Random(seed: 9)
        while bench.table.buckets < 56 { bench.insert(random.next()) }
        while !bench.table.needsGrowth { bench.insert(random.next()) }
        var numbers = Array(bench.model.keys).sorted()
        for _ in 0..<20_000 {
            let at = Int(random.below(UInt64(numbers.count)))
            bench.remove(numbers[at])
            numbers[at] = random.next()
            bench.insert(numbers[at])
        }
        let slots = try #require(bench.table.slots)
        let marked = (0..<Int(bench.table.buckets)).filter { slots[$0 * 8] & Table.overflowBit != 0 }.count
        #expect(marked <= Int(bench.table.buckets) * 2 / 3)
        #expect(bench.findsAll)
    }
}

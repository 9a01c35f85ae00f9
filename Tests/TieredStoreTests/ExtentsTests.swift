import Glibc
import Primitives
import Testing

@testable import TieredStore

/// Method: allocates and frees ranges of all sizes, writes to them, and asks the ledger what they
/// cost; at random, every live range is written with its own byte and checked when it is freed.
@Suite struct ExtentsTests {
    static func extents(bytes: Int = 64 << 20, limit: Int = .max / 2) throws -> (Extents, Ledger) {
        let ledger = Ledger(limit: limit)
        let space = try #require(AddressSpace(byteCount: bytes))
        return (Extents(space, from: 1 << 20, ledger: ledger), ledger)
    }

    static func isFilled(_ range: UnsafeMutableRawPointer, _ count: Int, with byte: UInt8) -> Bool {
        range.load(as: UInt8.self) == byte && memcmp(range, range + 1, count - 1) == 0
    }

    @Test func aRangeHoldsWhatItWasAskedForAndAQuarterMoreAtMost() {
        for pages in 1...4096 {
            for bytes in [(pages - 1) * 4096 + 1, pages * 4096] {
                let capacity = Extents.capacity(bytes)
                guard capacity >= bytes, capacity % 4096 == 0, capacity <= pages * 4096 * 5 / 4 else {
                    Issue.record("\(bytes) bytes get \(capacity)")
                    return
                }
            }
        }
    }

    @Test func whatIsChargedIsFreedToTheByte() throws {
        let (extents, ledger) = try ExtentsTests.extents()
        let range = try #require(extents.allocate(100_000, charging: 5000))
        #expect(ledger.used == 8192)
        #expect(extents.charge(from: 5000, to: 8192))
        #expect(ledger.used == 8192)
        #expect(extents.charge(from: 8192, to: 100_000))
        #expect(ledger.used == 25 * 4096)
        extents.free(range, bytes: 100_000, charged: 100_000)
        #expect(ledger.used == 0)
    }

    @Test func aFreedRangeIsUsedAgainAndReadsAsZero() throws {
        let (extents, _) = try ExtentsTests.extents()
        let range = try #require(extents.allocate(20_000, charging: 20_000))
        range.initializeMemory(as: UInt8.self, repeating: 7, count: 20_000)
        extents.free(range, bytes: 20_000, charged: 20_000)
        let again = try #require(extents.allocate(18_000, charging: 18_000))
        #expect(again == range)
        #expect(ExtentsTests.isFilled(again, 20_480, with: 0))
    }

    @Test func withoutRAMNothingIsTaken() throws {
        let (extents, ledger) = try ExtentsTests.extents(limit: 8192)
        let range = try #require(extents.allocate(4096, charging: 4096))
        #expect(extents.allocate(8192, charging: 8192) == nil)
        #expect(ledger.used == 4096)
        #expect(extents.charge(from: 4096, to: 8192))
        #expect(!extents.charge(from: 4096, to: 8193))
        #expect(ledger.used == 8192)
        #expect(extents.allocate(4096, charging: 4096, reserve: 4096) != nil)
        extents.free(range, bytes: 4096, charged: 8192)
    }

    @Test func withoutAddressesNothingIsTaken() throws {
        let (extents, ledger) = try ExtentsTests.extents(bytes: 2 << 20)
        #expect(extents.allocate(1 << 20, charging: 1 << 20) != nil)
        #expect(extents.allocate(4096, charging: 4096) == nil)
        #expect(ledger.used == 1 << 20)
    }

    @Test(arguments: 1...4) func rangesNeverOverlapAndTheLedgerReturnsToZero(_ seed: UInt64) throws {
        struct Held {
            var range: UnsafeMutableRawPointer
            var bytes: Int
            var mark: UInt8
        }
        let (extents, ledger) = try ExtentsTests.extents(bytes: 256 << 20)
        var random = Random(seed: seed)
        var held: [Held] = []
        func release() -> Bool {
            let one = held.remove(at: Int(random.below(UInt64(held.count))))
            let intact = ExtentsTests.isFilled(one.range, one.bytes, with: one.mark)
            extents.free(one.range, bytes: one.bytes, charged: one.bytes)
            return intact
        }
        for step in 0..<2000 {
            if held.count < 100, held.isEmpty || random.below(2) == 0 {
                let bytes = 1 + Int(random.below(random.below(4) == 0 ? 400_000 : 9000))
                let range = try #require(extents.allocate(bytes, charging: bytes))
                let mark = UInt8(truncatingIfNeeded: step | 1)
                range.initializeMemory(as: UInt8.self, repeating: mark, count: bytes)
                held.append(Held(range: range, bytes: bytes, mark: mark))
            } else {
                try #require(release(), "step \(step)")
            }
            try #require(ledger.used == held.reduce(0) { $0 + Extents.pages($1.bytes) })
        }
        while !held.isEmpty { try #require(release()) }
        #expect(ledger.used == 0)
    }
}

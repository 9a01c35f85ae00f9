import Primitives
import Testing

@testable import TieredStore

/// Proves that an address gives back what went in, and that its footprint is never too small.
struct AddressTests {
    static let offsetLimit = 64 << 20

    @Test func fieldsComeBack() {
        var random = Random(seed: 1)
        for _ in 0..<20000 {
            let segment = Int(random.below(UInt64(Address.segmentLimit)))
            let version = UInt32(truncatingIfNeeded: random.next())
            let offset = Int(random.below(UInt64(Self.offsetLimit))) & ~7
            let count = 1 + Int(random.below(UInt64(Self.offsetLimit)) >> random.below(26))
            let address = Address(segment: segment, version: version, offset: offset, byteCount: count)
            #expect(address.segment == segment)
            #expect(address.version == version & 0x3ff)
            #expect(address.offset == offset)
            #expect(address.footprint >= count)
            #expect(!address.isNone)
        }
    }

    @Test func extremesDoNotTouchTheirNeighbours() {
        let last = Address(
            segment: Address.segmentLimit - 1, version: 0, offset: Self.offsetLimit - 8, byteCount: 8)
        #expect(last.segment == Address.segmentLimit - 1)
        #expect((last.version, last.offset, last.footprint) == (0, Self.offsetLimit - 8, 8))
        let version = Address(segment: 0, version: .max, offset: 0, byteCount: 8)
        #expect((version.version, version.segment, version.offset) == (0x3ff, 0, 0))
        let longest = Address(segment: 0, version: 0, offset: 8, byteCount: Self.offsetLimit)
        #expect((longest.version, longest.segment, longest.offset) == (0, 0, 8))
        #expect(longest.footprint == Self.offsetLimit)
    }

    /// Method: every length up to 300 KB, then lengths all over the range. Rounding to 8 bytes is
    /// the record's own padding; beyond that under one part in a hundred.
    @Test func footprintIsAtLeastTheLengthAndHardlyMore() {
        func footprint(_ count: Int) -> Int {
            Address(segment: 1, version: 1, offset: 4096, byteCount: count).footprint
        }
        var previous = 0
        for count in 1...300_000 {
            let padded = (count + 7) & ~7, taken = footprint(count)
            if taken < padded || (taken - padded) * 100 >= padded || taken < previous || taken & 7 != 0 {
                Issue.record("\(count) bytes take \(taken)")
                break
            }
            previous = taken
        }
        var random = Random(seed: 2)
        for _ in 0..<20000 {
            let count = Int(random.below(UInt64(Self.offsetLimit - 8))) + 8
            let padded = (count + 7) & ~7, taken = footprint(count)
            #expect(taken >= padded && (taken - padded) * 100 < padded, "\(count) bytes take \(taken)")
        }
        for count in stride(from: 8, through: 2040, by: 8) { #expect(footprint(count) == count) }
    }

    @Test func noneIsTheZeroWord() {
        #expect(Address.none.isNone)
        #expect(Address(raw: 0) == .none)
        #expect(Address(segment: 0, version: 0, offset: 0, byteCount: 0).isNone)
        // The first record of the first segment.
        #expect(!Address(segment: 0, version: 0, offset: 4096, byteCount: 49).isNone)
    }

    @Test func addressesThatDifferInOneFieldAreNotEqual() {
        let one = Address(segment: 3, version: 5, offset: 4096, byteCount: 100)
        #expect(one == Address(segment: 3, version: 5 + 1024, offset: 4096, byteCount: 100))
        #expect(one != Address(segment: 4, version: 5, offset: 4096, byteCount: 100))
        #expect(one != Address(segment: 3, version: 6, offset: 4096, byteCount: 100))
        #expect(one != Address(segment: 3, version: 5, offset: 4104, byteCount: 100))
        #expect(one != Address(segment: 3, version: 5, offset: 4096, byteCount: 108))
    }

    /// Method: a read from the record's first block must reach its last byte, and no block more.
    @Test func aReadCoversTheRecord() {
        func bytes(_ offset: Int, _ count: Int) -> Int {
            Address(segment: 0, version: 0, offset: offset, byteCount: count).readBytes
        }
        #expect(bytes(4096, 1) == 4096)
        #expect(bytes(4096, 2040) == 4096)
        #expect(bytes(4096 + 2048, 2040) == 4096)
        #expect(bytes(4096 + 2064, 2040) == 8192)
        #expect(bytes(4096, 4096) == 4096)
        #expect(bytes(4104, 4096) == 8192)
    }
}

import Primitives
import Testing

@testable import TieredStore

/// Method: packs the extremes of each part and seeded parts, reads them back; the footprint, which
/// is rounded, is held against the length it was made from.
@Suite struct AddressTests {
    @Test func partsSurviveTheRoundTrip() {
        for version in [UInt32(0), 1, 512, 1023] {
            for segment in [0, 1, 4095, Address.segmentLimit - 1] {
                for offset in [8, 4096, (64 << 20) - 8] {
                    let address = Address(segment: segment, version: version, offset: offset, byteCount: 48)
                    #expect(address.version == version)
                    #expect(address.segment == segment)
                    #expect(address.offset == offset)
                    #expect(address.footprint == 48)
                    #expect(Address(raw: address.raw) == address)
                }
            }
        }
    }

    @Test func versionKeepsItsLowTenBits() {
        let address = Address(segment: 3, version: 0xffff_fc05, offset: 4096, byteCount: 100)
        #expect(address.version == 5)
        #expect(address.segment == 3)
    }

    @Test func onlyTheWordZeroIsNoAddress() {
        #expect(Address.none.isNone)
        #expect(Address(raw: 0) == .none)
        #expect(!Address(segment: 0, version: 0, offset: SegmentHeader.size, byteCount: 48).isNone)
    }

    @Test func footprintCoversTheRecordAndLittleMore() {
        var random = Random(seed: 5)
        var lengths = Array(1...20_000)
        for _ in 0..<20_000 { lengths.append(1 + Int(random.below(64 << 20))) }
        lengths += [64 << 20, (64 << 20) - 1]
        for length in lengths {
            let address = Address(segment: 1, version: 1, offset: 4096, byteCount: length)
            let units = (length + 7) / 8 * 8
            guard address.footprint >= length, address.footprint <= units + units / 100 else {
                Issue.record("\(length) bytes have a footprint of \(address.footprint)")
                return
            }
        }
    }

    @Test func footprintNeverFallsAsRecordsGrow() {
        var last = 0
        for length in stride(from: 8, through: 4 << 20, by: 8) {
            let footprint = Address(segment: 0, version: 0, offset: 8, byteCount: length).footprint
            guard footprint >= last else {
                Issue.record("\(length) bytes have a footprint of \(footprint) after \(last)")
                return
            }
            last = footprint
        }
    }

    @Test(arguments: [
        (4096, 100, 4096), (4096, 4096, 4096), (4104, 4080, 4096), (4104, 4096, 8192),
        (8184, 8, 4096), (8184, 16, 8192), (4096, 4097, 8192),
    ]) func readsCoverTheBlocksOfTheRecord(_ offset: Int, _ byteCount: Int, _ wanted: Int) {
        let address = Address(segment: 0, version: 0, offset: offset, byteCount: byteCount)
        #expect(address.readBytes == wanted)
    }

    @Test func addressesThatDifferInOnePartAreNotEqual() {
        let address = Address(segment: 7, version: 9, offset: 4096, byteCount: 64)
        #expect(address != Address(segment: 8, version: 9, offset: 4096, byteCount: 64))
        #expect(address != Address(segment: 7, version: 10, offset: 4096, byteCount: 64))
        #expect(address != Address(segment: 7, version: 9, offset: 4104, byteCount: 64))
        #expect(address != Address(segment: 7, version: 9, offset: 4096, byteCount: 72))
    }
}

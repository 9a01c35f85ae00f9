import CSystem
import Testing

@testable import TieredStore

/// Method: writes superblock, segment table and segment header to blocks, damages them bit by bit,
/// and reads them back.
@Suite struct SuperblockTests {
    static let sample = Superblock(
        segmentSize: 64 << 20, segmentCount: 1600, generation: 12, hashSeed: 0xfeed_beef_0123)

    @Test func fieldsSurviveTheRoundTrip() throws {
        let block = Block(bytes: 4096)
        block.lend { SuperblockTests.sample.encode(to: $0) }
        #expect(try block.superblock() == SuperblockTests.sample)
        #expect(block.bytes.prefix(8).elementsEqual("TIERLOG1".utf8))
    }

    @Test func everyFlippedBitOfItsFieldsIsRefused() {
        let block = Block(bytes: 4096)
        block.lend { SuperblockTests.sample.encode(to: $0) }
        for bit in 0..<52 * 8 {
            block.flip(bit: bit)
            #expect(throws: Superblock.Refusal.self, "bit \(bit)") { try block.superblock() }
            block.flip(bit: bit)
        }
    }

    @Test func refusalsSayWhatIsWrong() {
        let block = Block(bytes: 4096)
        #expect(throws: Superblock.Refusal.notATierFile) { try block.superblock() }
        block.lend { SuperblockTests.sample.encode(to: $0) }
        block.flip(bit: 40 * 8)
        #expect(throws: Superblock.Refusal.damaged) { try block.superblock() }
        block.lend { SuperblockTests.sample.encode(to: $0) }
        block.lend { $0.storeBytes(of: 2, toByteOffset: 8, as: UInt32.self) }
        #expect(throws: Superblock.Refusal.newerFormat(2)) { try block.superblock() }
    }

    @Test(arguments: [
        (0, 10), (4095, 10), (4097, 10), (128 << 20, 10), (1 << 20, Address.segmentLimit + 1),
    ]) func geometryNoServerMakesIsRefused(_ segmentSize: Int, _ segmentCount: Int) {
        let block = Block(bytes: 4096)
        let odd = Superblock(
            segmentSize: segmentSize, segmentCount: segmentCount, generation: 1, hashSeed: 1)
        block.lend { odd.encode(to: $0) }
        #expect(throws: Superblock.Refusal.damaged) { try block.superblock() }
    }

    @Test(arguments: [0, 1, 255, 256, 1023, Address.segmentLimit])
    func sizeHoldsTheWholeTableInWholeBlocks(_ segments: Int) {
        let size = Superblock.size(segments: segments)
        #expect(size % 4096 == 0)
        #expect(size >= 4096 + segments * 16 + 4)
        #expect(size < 4096 + segments * 16 + 4 + 4096)
    }

    @Test func tableRowsAreWhatTheLogSays() throws {
        let log = SegmentLog(options: .tiny)
        let first = try #require(log.open(for: .demotion))
        let second = try #require(log.open(for: .compaction))
        log.add(Address(segment: first, version: 1, offset: 4096, byteCount: 800))
        log.seal(first, used: 8192)
        let block = Block(bytes: Superblock.size(segments: log.segmentCount) - 4096)
        block.lend { Superblock.encodeTable(of: log, to: $0) }
        let rows = try #require(block.rows(log.segmentCount))
        #expect(rows.count == log.segmentCount)
        #expect(rows[first] == Superblock.SegmentRow(state: .sealed, version: 1, used: 8192, live: 800))
        #expect(rows[second] == Superblock.SegmentRow(state: .open, version: 1, used: 0, live: 0))
        #expect(rows.filter { $0.state == .free }.count == log.segmentCount - 2)
    }

    @Test func everyFlippedBitOfTheTableIsRefused() {
        var options = StoreOptions.tiny
        options.tierCapacity = options.segmentSize * 8
        let log = SegmentLog(options: options)
        let block = Block(bytes: Superblock.size(segments: 8) - 4096)
        block.lend { Superblock.encodeTable(of: log, to: $0) }
        for bit in 0..<(8 * 16 + 4) * 8 {
            block.flip(bit: bit)
            #expect(block.rows(8) == nil, "bit \(bit)")
            block.flip(bit: bit)
        }
        #expect(block.rows(8) != nil)
    }

    @Test func aStateNobodyKnowsIsRefused() {
        let block = Block(bytes: 4096)
        block.lend { table in
            table.storeBytes(of: 5, as: UInt8.self)
            table.storeBytes(of: csystem_crc32c(0, table, 16), toByteOffset: 16, as: UInt32.self)
        }
        #expect(block.rows(1) == nil)
    }

    @Test func segmentHeaderTellsItsVersionToItsOwnSegmentOnly() {
        let block = Block(bytes: SegmentHeader.size)
        block.lend {
            SegmentHeader.encode(to: $0, segment: 17, version: 0xffff_ffff, stream: .compaction)
        }
        #expect(block.segmentVersion(of: 17) == 0xffff_ffff)
        #expect(block.segmentVersion(of: 18) == nil)
        for bit in 0..<32 * 8 {
            block.flip(bit: bit)
            #expect(block.segmentVersion(of: 17) == nil, "bit \(bit)")
            block.flip(bit: bit)
        }
    }
}

/// Zeroed memory in whole blocks.
private final class Block {
    private let memory: UnsafeMutableRawPointer
    private let count: Int

    init(bytes count: Int) {
        self.count = count
        memory = .allocate(byteCount: count, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    }

    deinit { memory.deallocate() }

    func lend<R>(_ body: (UnsafeMutableRawPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) { try body(memory) }
    }

    var bytes: [UInt8] { lend { Array(UnsafeRawBufferPointer(start: $0, count: count)) } }

    func superblock() throws -> Superblock { try lend { try Superblock(decoding: $0) } }

    func rows(_ segments: Int) -> [Superblock.SegmentRow]? {
        lend { Superblock.decodeTable($0, segments: segments) }
    }

    func segmentVersion(of segment: Int) -> UInt32? {
        lend { SegmentHeader.decode($0, segment: segment) }
    }

    func flip(bit: Int) {
        lend { memory in
            let old = memory.load(fromByteOffset: bit >> 3, as: UInt8.self)
            memory.storeBytes(of: old ^ 1 << UInt8(bit & 7), toByteOffset: bit >> 3, as: UInt8.self)
        }
    }
}

import Primitives
import Testing

@testable import TieredStore

/// Proves that the first blocks of a tier file come back as written, and that damage is refused.
struct SuperblockTests {
    private func with<R>(_ body: (UnsafeMutableRawPointer) throws -> R) rethrows -> R {
        try withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { try body($0.baseAddress!) }
    }

    private func decode(_ memory: UnsafeMutableRawPointer) -> Result<Superblock, Superblock.Refusal> {
        do throws(Superblock.Refusal) { return .success(try Superblock(decoding: memory)) } catch {
            return .failure(error)
        }
    }

    private func roundTrip(
        size: Int = 64 << 20, count: Int = 1 << 19
    ) -> Result<Superblock, Superblock.Refusal> {
        with {
            Superblock(segmentSize: size, segmentCount: count, generation: 7, hashSeed: .max).encode(to: $0)
            return decode($0)
        }
    }

    @Test func aSuperblockComesBack() throws {
        let block = try roundTrip().get()
        #expect((block.segmentSize, block.segmentCount) == (64 << 20, 1 << 19))
        #expect((block.generation, block.hashSeed) == (7, .max))
        #expect(try roundTrip(size: 4096, count: 0).get().segmentCount == 0)
    }

    @Test func howItWasLeftComesBack() throws {
        try with { memory in
            var block = Superblock(segmentSize: 65536, segmentCount: 8, generation: 7, hashSeed: 9)
            block.identity = 5
            block.sequence = 1 << 40
            block.ending = .saved
            block.swaps = [.init(database: 1, tables: 3), .init(database: 3, tables: 1)]
            block.encode(to: memory)
            let first = try decode(memory).get()
            #expect(first == block && block.headerSize == Superblock.size(segments: 4096))
            block.swaps = (0..<2000).map { .init(database: $0, tables: $0 + 1) }
            block.encode(to: memory)
            let second = try decode(memory).get()
            #expect(second.swaps == Array(block.swaps.prefix(1003)), "as many as fit")
        }
    }

    /// Method: what format 2 had, written by hand.
    @Test func format2IsRead() throws {
        try with { memory in
            Superblock(segmentSize: 65536, segmentCount: 80, generation: 7, hashSeed: 9).encode(to: memory)
            memory.storeBytes(of: 2, toByteOffset: 8, as: UInt32.self)
            (memory + 48).initializeMemory(as: UInt8.self, repeating: 0, count: 4048)
            memory.storeBytes(of: checksum(memory, 48), toByteOffset: 48, as: UInt32.self)
            let block = try decode(memory).get()
            #expect((block.format, block.segmentCount, block.generation, block.hashSeed) == (2, 80, 7, 9))
            #expect((block.headerSize, block.identity, block.ending) == (8192, 0, .none))
        }
    }

    /// Method: the checksum holds, as in a file made to do harm; sizes no server writes.
    @Test(arguments: [
        (0, 8), (2048, 8), (4097, 8), (128 << 20, 8), (4096, (1 << 19) + 1),
    ]) func impossibleSizesAreRefused(_ size: Int, _ count: Int) {
        #expect(roundTrip(size: size, count: count) == .failure(.damaged))
    }

    /// Method: both numbers with their highest bit, which no Int holds (found by tools/fuzz record).
    @Test func sizesBeyondAnIntegerAreRefused() {
        #expect(roundTrip(size: 4096, count: 1) != .failure(.damaged))
        for (size, count) in [(Int(bitPattern: 1 << 63 | 4096), 1), (4096, Int(bitPattern: 1 << 63 | 1))] {
            let outcome = with { memory in
                Superblock(segmentSize: 4096, segmentCount: 1, generation: 1, hashSeed: 1).encode(to: memory)
                memory.storeBytes(of: UInt64(bitPattern: Int64(size)), toByteOffset: 16, as: UInt64.self)
                memory.storeBytes(of: UInt64(bitPattern: Int64(count)), toByteOffset: 24, as: UInt64.self)
                memory.storeBytes(of: checksum(memory, 4092), toByteOffset: 4092, as: UInt32.self)
                return decode(memory)
            }
            #expect(outcome == .failure(.damaged))
        }
    }

    /// CRC-32C bit by bit (RFC 3720, appendix B.4: polynomial 0x1EDC6F41, reflected).
    private func checksum(_ memory: UnsafeRawPointer, _ count: Int) -> UInt32 {
        var crc = ~UInt32(0)
        for byte in ByteView(memory, count).buffer {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82f6_3b78 : crc >> 1 }
        }
        return ~crc
    }

    @Test func everyFlippedBitShows() {
        with { memory in
            Superblock(segmentSize: 65536, segmentCount: 8, generation: 7, hashSeed: 9).encode(to: memory)
            for bit in 0..<4096 * 8 {
                let byte = (memory + bit / 8).assumingMemoryBound(to: UInt8.self)
                byte.pointee ^= 1 << (bit % 8)
                let isRefused = (try? decode(memory).get()) == nil
                #expect(isRefused, "bit \(bit)")
                byte.pointee ^= 1 << (bit % 8)
            }
            #expect((try? decode(memory).get()) != nil)
        }
    }

    @Test func anotherFileAndANewerFormatAreNamed() {
        with { memory in
            Superblock(segmentSize: 65536, segmentCount: 8, generation: 7, hashSeed: 9).encode(to: memory)
            let newer = Superblock.formatVersion + 1
            memory.storeBytes(of: newer, toByteOffset: 8, as: UInt32.self)
            #expect(decode(memory) == .failure(.newerFormat(newer)))
            memory.storeBytes(of: 0, as: UInt64.self)
            #expect(decode(memory) == .failure(.notATierFile))
        }
    }

    @Test func theSegmentTableComesBackAndItsDamageShows() throws {
        var options = StoreOptions.tiny
        options.tierCapacity = 8 * options.segmentSize
        let log = SegmentLog(options: options)
        let segment = try #require(log.open(for: .demotion))
        log.add(Address(segment: segment, version: 1, offset: 4096, byteCount: 800))
        log.seal(segment, used: 8192, filled: 800)
        #expect(log.open(for: .compaction) == 1)
        #expect(Superblock.size(segments: 8) == 8192 && log.headerSize == Superblock.size(segments: 4096))
        try with { memory in
            Superblock.encodeTable(of: log, to: memory)
            let rows = try #require(Superblock.decodeTable(memory, segments: 8))
            #expect(rows.count == 8)
            #expect(rows[0] == .init(state: .sealed, version: 1, used: 8192, live: 800))
            #expect(rows[1] == .init(state: .open, version: 1, used: 0, live: 0))
            #expect(rows[7] == .init(state: .free, version: 0, used: 0, live: 0))
            for bit in 0..<(8 * 16 + 4) * 8 {
                let byte = (memory + bit / 8).assumingMemoryBound(to: UInt8.self)
                byte.pointee ^= 1 << (bit % 8)
                #expect(Superblock.decodeTable(memory, segments: 8) == nil, "bit \(bit)")
                byte.pointee ^= 1 << (bit % 8)
            }
        }
    }

    @Test func aSegmentHeaderBelongsToItsSegment() {
        with { memory in
            SegmentHeader.encode(to: memory, segment: 5, version: 9, stream: .compaction, identity: 7)
            #expect(SegmentHeader.decode(memory, segment: 5, identity: 7) == 9)
            #expect(SegmentHeader.decode(memory, segment: 5, identity: 8) == nil)
            #expect(SegmentHeader.decode(memory, segment: 6, identity: 7) == nil)
            for bit in 0..<32 * 8 {
                let byte = (memory + bit / 8).assumingMemoryBound(to: UInt8.self)
                byte.pointee ^= 1 << (bit % 8)
                #expect(SegmentHeader.decode(memory, segment: 5, identity: 7) == nil, "bit \(bit)")
                byte.pointee ^= 1 << (bit % 8)
            }
        }
    }
}

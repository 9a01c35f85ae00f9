import Primitives
import Testing

@testable import TieredStore

/// DUMP payloads that nobody vouches for.
@Suite struct DumpTests {
    private func payloads(_ bench: StoreBench) throws -> [[UInt8]] {
        try bench.with(["h", "s", "i", "z", "l", "x", "t", "big"]) { keys in
            for i in 0..<20 {
                let text = Array("text \(i)".utf8), number = Array("\(i * 77)".utf8)
                try text.withView { text in
                    try number.withView { number in
                        _ = try keys.hash(0).set(text, number)
                        _ = try keys.set(1).add(text)
                        _ = try keys.set(2).add(number)
                        _ = try keys.sortedSet(3).set(text, Double(i) / 3)
                        try keys.list(4).push(text, .tail)
                        let stream = try keys.stream(5) ?? keys.makeStream(5)
                        stream.add(StreamID(UInt64(i + 1), 1), [.bytes(text), .bytes(number)], .init())
                    }
                }
            }
            let stream = try keys.editStream(5)
            let group = stream.addGroup(ByteView("g"), lastID: StreamID(3, 0), entriesRead: 2)!
            let consumer = group.addConsumer(ByteView("c"), seenAt: 1)
            group.deliver(StreamID(2, 1), to: consumer, at: 5, deliveries: 1)
            keys.setString(6, ByteView("-1234"))
            for i in 0..<600 {
                _ = try Array("\(i) member".utf8).withView { try keys.sortedSet(7).set($0, 1) }
            }
            return try (0..<8).map { try #require(try keys.dump($0)) }
        }
    }

    private func restore(_ bench: StoreBench, _ payload: [UInt8]) throws -> Bool {
        try bench.with(["target"]) { keys in
            try payload.withView { try StagedKeys.isIntact($0) && keys.restore(0, $0, expiry: .none) }
        }
    }

    private func sealed(_ payload: [UInt8]) -> [UInt8] {
        var sealed = Array(payload.dropLast(8))
        let checksum = sealed.withView { CRC64.checksum($0) }
        withUnsafeBytes(of: checksum.littleEndian) { sealed += $0 }
        return sealed
    }

    @Test func aPayloadComesBackAsItWent() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        for payload in try payloads(bench) {
            #expect(try restore(bench, payload))
            let again = try #require(try bench.with(["target"]) { try $0.dump(0) })
            // The members of a set come in any order.
            let isSet = payload[0] == RDBType.set
            #expect(isSet ? again.dropLast(8).sorted() == payload.dropLast(8).sorted() : again == payload)
        }
    }

    @Test func theChecksumIsRedis() {
        // Redis 7.0 crc64.c's own test.
        #expect(Array("123456789".utf8).withView { CRC64.checksum($0) } == 0xe9c6_d914_c4b8_d9ca)
    }

    /// Every cut and thousands of flipped bytes, with a checksum that is right again: refused or read, never
    /// a trap, and what the key held stays when it is refused.
    @Test func aCorruptPayloadIsRefusedWhole() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        var random = Random(seed: 11), refused = 0
        for payload in try payloads(bench) {
            #expect(try !restore(bench, payload.dropLast(1)))
            bench.set("target", Array("old".utf8))
            for cut in stride(from: 11, to: min(payload.count, 600), by: 1) {
                let shorter = sealed(Array(payload.prefix(cut - 10)) + payload.suffix(10))
                if cut < payload.count, try restore(bench, shorter) { bench.set("target", Array("old".utf8)) }
            }
            for _ in 0..<800 {
                var damaged = payload
                for _ in 0...random.below(3) {
                    let place = Int(random.below(UInt64(payload.count - 10)))
                    damaged[place] = UInt8(truncatingIfNeeded: random.next())
                }
                bench.set("target", Array("old".utf8))
                if try restore(bench, sealed(damaged)) { continue }
                refused += 1
                #expect(try bench.get("target") == Array("old".utf8))
            }
        }
        #expect(refused > 1500)
    }

    @Test func compressedStringsOfRedisAreRead() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        // SET key <100 × "a">, DUMP key of redis-server 7.0.15.
        let body: [UInt8] = [
            0, 0xc3, 0x09, 0x40, 0x64, 0x01, 0x61, 0x61, 0xe0, 0x57, 0x00, 0x01, 0x61, 0x61, 10, 0,
        ]
        #expect(try restore(bench, sealed(body + [UInt8](repeating: 0, count: 8))))
        #expect(try bench.get("target") == [UInt8](repeating: 97, count: 100))
    }
}

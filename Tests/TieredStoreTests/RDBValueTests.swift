import Primitives
import Testing

@testable import TieredStore

/// Values as Redis 2.4 to 7.4 wrote them, from bytes put together by hand.
@Suite struct RDBValueTests {
    private let bench: StoreBench

    init() throws { bench = try StoreBench { $0.memoryLimit = 64 << 20 } }

    /// Decodes a slice of `budget` members at a time; nil if it is refused.
    private func decoded(_ type: UInt8, _ bytes: [UInt8], budget: Int = .max) -> StructureDecoder? {
        // At their exact size on the heap, so that the address sanitizer sees what is read behind them.
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
        defer { memory.deallocate() }
        bytes.withView { memory.copyMemory(from: $0.base, byteCount: $0.count) }
        guard let decoder = StructureDecoder(
            rdbType: type, ByteView(memory, bytes.count), CellHeap(bench.worker.extents),
            bench.worker.hashing)
        else { return nil }
        while true {
            switch decoder.step(budget: budget) {
            case .more: continue
            case .done: return decoder.remaining == 0 ? decoder : nil
            case .failed: return nil
            }
        }
    }

    private func fields(_ decoder: StructureDecoder?) throws -> [String: String] {
        let table = try #require(decoder?.structure as? TableStructure)
        var found: [String: String] = [:]
        table.table.forEach {
            let member = table.table.member($0)
            let expiry = member.expiry.map { "@\($0)" } ?? ""
            found[member.key.text] = member.payload.text + expiry
            return true
        }
        #expect(found.count == table.count)
        return found
    }

    private func scores(_ decoder: StructureDecoder?) throws -> [String: Double] {
        let sorted = try #require(decoder?.structure as? SortedStructure)
        var found: [String: Double] = [:]
        for rank in 0..<sorted.count {
            let member = sorted.table.member(sorted.tree.cell(sorted.tree.place(rank: rank)))
            found[member.key.text] = member.score
        }
        return found
    }

    private func elements(_ decoder: StructureDecoder?) throws -> [[UInt8]] {
        let list = try #require(decoder?.structure as? ListStructure)
        var found: [[UInt8]] = []
        if list.count == 0 { return [] }
        list.list.forEach(from: list.list.place(0), count: list.count) { found.append($0.array) }
        return found
    }

    // MARK: Ziplists and zipmaps

    @Test func eachKindOfZiplistEntryIsRead() throws {
        let bytes = RDBBytes.ziplist(RDBBytes.ziplistKinds.map(\.entry))
        let wanted = RDBBytes.ziplistKinds.map(\.element)
        #expect(try elements(decoded(RDBType.listZiplist, RDBBytes.string(bytes))) == wanted)
        let nodes = [3] + RDBBytes.string(bytes) + RDBBytes.string(RDBBytes.ziplist([]))
            + RDBBytes.string(RDBBytes.ziplist([[0xf8]], count: 65535))
        for budget in [1, 7, Int.max] {
            let found = try elements(decoded(RDBType.listZiplists, nodes, budget: budget))
            #expect(found == wanted + [RDBBytes.text("7")])
        }
    }

    /// The example in Redis 7.0 ziplist.c: "2", "5", "Hello World".
    @Test func theZiplistOfRedisDescriptionIsRead() throws {
        let bytes: [UInt8] = [0x1c, 0, 0, 0, 0x0e, 0, 0, 0, 3, 0, 0, 0xf3, 2, 0xf6, 2, 0x0b]
            + RDBBytes.text("Hello World") + [0xff]
        let found = try elements(decoded(RDBType.listZiplist, RDBBytes.string(bytes)))
        #expect(found == [RDBBytes.text("2"), RDBBytes.text("5"), RDBBytes.text("Hello World")])
    }

    @Test func hashesAndSortedSetsInZiplistsAreRead() throws {
        let hash = RDBBytes.ziplist([[1, 97], [0xf2], [0xfe, 200], [3] + RDBBytes.text("two")])
        #expect(try fields(decoded(RDBType.hashZiplist, RDBBytes.string(hash))) == ["a": "1", "-56": "two"])
        let sorted = RDBBytes.ziplist(
            [[1, 97], [4] + RDBBytes.text("-inf"), [1, 98], [0xf2], [1, 99], [3] + RDBBytes.text("2.5")])
        let found = try scores(decoded(RDBType.sortedSetZiplist, RDBBytes.string(sorted)))
        #expect(found == ["a": -.infinity, "b": 1, "c": 2.5])
    }

    @Test func aZipmapIsRead() throws {
        // The example in Redis 7.0 zipmap.c, and one with free bytes and long lengths.
        let plain: [UInt8] = [2, 3] + RDBBytes.text("foo") + [3, 0] + RDBBytes.text("bar") + [5]
            + RDBBytes.text("hello") + [5, 0] + RDBBytes.text("world") + [255]
        let wanted = ["foo": "bar", "hello": "world"]
        #expect(try fields(decoded(RDBType.hashZipmap, RDBBytes.string(plain))) == wanted)
        let long: [UInt8] = [254, 1, 97, 254] + RDBBytes.little(300, 4) + [2]
            + [UInt8](repeating: 98, count: 300) + [9, 9, 0, 0, 0, 255]
        let found = try fields(decoded(RDBType.hashZipmap, RDBBytes.string(long)))
        #expect(found == ["a": String(repeating: "b", count: 300), "": ""])
        // Redis takes any byte from 254 on for a long length of a value.
        let end: [UInt8] = [1, 1, 97, 255] + RDBBytes.little(2, 4) + [0, 98, 98, 255]
        #expect(try fields(decoded(RDBType.hashZipmap, RDBBytes.string(end))) == ["a": "bb"])
    }

    /// What Redis's deep sanitization refuses.
    @Test func whatIsNotSoundIsRefused() {
        let a: [UInt8] = [1, 97], one: [UInt8] = [0xf2]
        func isRefused(_ type: UInt8, _ bytes: [UInt8]) -> Bool {
            decoded(type, RDBBytes.string(bytes)) == nil
        }
        #expect(isRefused(RDBType.hashZiplist, RDBBytes.ziplist([a, one, a, one])), "a field twice")
        #expect(isRefused(RDBType.hashZiplist, RDBBytes.ziplist([one, a, [1, 49], a])), "1 and \"1\"")
        #expect(isRefused(RDBType.hashZiplist, RDBBytes.ziplist([a, one, a])), "a field without value")
        #expect(isRefused(RDBType.sortedSetZiplist, RDBBytes.ziplist([a, one, a, one])), "a member twice")
        #expect(isRefused(RDBType.sortedSetZiplist, RDBBytes.ziplist([a, a])), "no score")
        let nan = RDBBytes.ziplist([a, [3] + RDBBytes.text("nan")])
        #expect(isRefused(RDBType.sortedSetZiplist, nan))
        #expect(isRefused(RDBType.listZiplist, RDBBytes.ziplist([a, a], count: 3)), "count")
        #expect(isRefused(RDBType.listZiplist, RDBBytes.ziplist([[0xc1, 0, 0]])), "no such code")
        var list = RDBBytes.ziplist([a, a])
        list[4] = 10
        #expect(isRefused(RDBType.listZiplist, list), "tail")
        list = RDBBytes.ziplist([a, a])
        list[13] = 2
        #expect(isRefused(RDBType.listZiplist, list), "length of the entry before")
        #expect(isRefused(RDBType.hashZipmap, [2, 1, 97, 0, 0, 1, 97, 0, 0, 255]), "a field twice")
        #expect(isRefused(RDBType.hashZipmap, [1, 1, 97, 0, 0, 1, 98, 0, 0, 255]), "count")
        #expect(isRefused(RDBType.hashZipmap, [0, 255]), "empty")
        #expect(isRefused(RDBType.hashZipmap, [1, 1, 97, 0, 5, 255]), "free bytes behind the end")
        #expect(isRefused(RDBType.hashZipmap, [1, 254, 255, 255, 255, 255, 97, 0, 0, 255]), "length")
        #expect(isRefused(RDBType.setListpack, RDBBytes.listpack(["a", "a"])), "a member twice")
        #expect(isRefused(RDBType.hashListpackExpiringEarly, RDBBytes.listpack(["a", "b"])), "not three")
        #expect(decoded(RDBType.set, [2, 1, 97, 1, 97]) == nil)
        #expect(decoded(RDBType.listQuicklist, [1, 1, 0]) == nil, "an empty plain node")
        for type in [RDBType.module, RDBType.module2, 8, 26, 255] {
            #expect(decoded(type, [1, 0, 0, 0]) == nil)
        }
    }

    // MARK: Fields that expire

    @Test func fieldsWithAnExpiryAreRead() throws {
        let wanted = ["a": "x@5000", "b": "y", "c": "z@5002"]
        let pairs = [("a", "x", 5000), ("b", "y", 0), ("c", "z", 5002)]
        var early: [UInt8] = [3], late = RDBBytes.little(5000, 8) + [3]
        for (field, value, time) in pairs {
            early += RDBBytes.length(time) + RDBBytes.string(field) + RDBBytes.string(value)
            late += RDBBytes.length(time == 0 ? 0 : time - 4999)
            late += RDBBytes.string(field) + RDBBytes.string(value)
        }
        let list = RDBBytes.string(RDBBytes.listpack(pairs.flatMap { [$0, $1, "\($2)"] }))
        for budget in [1, Int.max] {
            #expect(try fields(decoded(RDBType.hashMetadataEarly, early, budget: budget)) == wanted)
            #expect(try fields(decoded(RDBType.hashMetadata, late, budget: budget)) == wanted)
        }
        #expect(try fields(decoded(RDBType.hashListpackExpiringEarly, list)) == wanted)
        #expect(try fields(decoded(RDBType.hashListpackExpiring, RDBBytes.little(5000, 8) + list)) == wanted)
        for time in ["x", "-1", "\(1 << 46)"] {
            let bad = RDBBytes.string(RDBBytes.listpack(["a", "x", time]))
            #expect(decoded(RDBType.hashListpackExpiringEarly, bad) == nil)
        }
        let twice = RDBBytes.string(RDBBytes.listpack(["a", "x", "0", "a", "y", "7"]))
        #expect(decoded(RDBType.hashListpackExpiringEarly, twice) == nil)
    }

    // MARK: Damage

    /// One value of each type that has the encodings above inside, whole, cut anywhere, each byte changed.
    @Test func noByteOfAValueIsTrusted() throws {
        let list = RDBBytes.ziplist(RDBBytes.ziplistKinds.filter { $0.entry.count < 100 }.map(\.entry))
        let pairs = RDBBytes.ziplist([[1, 97], [0xf2], [1, 98], [0xc0, 0, 2]])
        let triples = RDBBytes.listpack(["a", "x", "5", "b", "y", "0"])
        let values: [(UInt8, [UInt8])] = [
            (RDBType.listZiplist, RDBBytes.string(list)),
            (RDBType.listZiplists, [2] + RDBBytes.string(list) + RDBBytes.string(list)),
            (RDBType.hashZiplist, RDBBytes.string(pairs)), (RDBType.sortedSetZiplist, RDBBytes.string(pairs)),
            (RDBType.hashZipmap, [12, 2, 1, 97, 1, 1, 98, 0, 1, 99, 0, 0, 255]),
            (RDBType.hashMetadata, RDBBytes.little(9, 8) + [2, 1, 1, 97, 1, 98, 0, 1, 99, 0]),
            (RDBType.hashMetadataEarly, [2, 9, 1, 97, 1, 98, 0, 1, 99, 0]),
            (RDBType.hashListpackExpiring, RDBBytes.little(5, 8) + RDBBytes.string(triples)),
            (RDBType.hashListpackExpiringEarly, RDBBytes.string(triples)),
            (RDBType.list, [3, 1, 97, 0xc0, 5, 0xc3, 4, 4, 3, 97, 98, 99]),
            (RDBType.sortedSetText, [2, 1, 97, 3] + RDBBytes.text("2.5") + [1, 98, 254]),
        ]
        for (type, bytes) in values.dropLast(2) { #expect(decoded(type, bytes) != nil, "type \(type)") }
        for (type, bytes) in values {
            for cut in 0..<bytes.count { #expect(decoded(type, Array(bytes.prefix(cut))) == nil) }
            for place in bytes.indices {
                for change in [1, 2, 0x80, 0xff, bytes[place]] as [UInt8] {
                    var damaged = bytes
                    damaged[place] ^= change
                    _ = decoded(type, damaged, budget: 2)
                }
            }
        }
    }

    private func restored(_ type: UInt8, _ bytes: [UInt8]) throws -> StagedKeys.Restored {
        try bench.with(["key"]) { keys in
            try bytes.withView { try keys.restore(0, type: type, $0, expiry: .none) }
        }
    }

    @Test func anEmptyCollectionIsToldFromOneThatIsMalformed() throws {
        let empty = RDBBytes.string(RDBBytes.ziplist([]))
        bench.set("key", RDBBytes.text("old"))
        #expect(try restored(RDBType.hash, [0]) == .empty)
        #expect(try restored(RDBType.hashZiplist, empty) == .empty)
        #expect(try restored(RDBType.listZiplists, [1] + empty) == .empty)
        #expect(try restored(RDBType.hashZiplist, Array(empty.dropLast())) == .malformed)
        #expect(try restored(RDBType.module2, [0, 0]) == .malformed)
        #expect(try bench.get("key") == RDBBytes.text("old"))
    }
}

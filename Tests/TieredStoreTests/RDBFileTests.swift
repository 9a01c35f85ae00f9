import Primitives
import Testing

@testable import TieredStore

/// Whole RDB files, given in pieces.
@Suite struct RDBFileTests {
    /// An event with copies of what it lends.
    private enum Item: Equatable {
        case version(Int)
        case auxiliary(String, String)
        case database(Int)
        case sizes(UInt64, UInt64)
        case entry(Int, [UInt8], type: UInt8, [UInt8], expiry: Int64?)
        case library(String)
        case skipped(String, [UInt8]?)
        case end
    }

    private func item(_ event: RDBFile.Event) -> Item {
        switch event {
        case .version(let version): .version(version)
        case .auxiliary(let key, let value): .auxiliary(key.text, value.text)
        case .database(let number): .database(number)
        case .sizes(let keys, let expiring): .sizes(keys, expiring)
        case .entry(let entry):
            .entry(
                entry.database, entry.key.array, type: entry.type, entry.encoding.array,
                expiry: entry.expiry)
        case .library(let text): .library(text.text)
        case .skipped(let module, let key): .skipped(module, key?.array)
        case .end: .end
        }
    }

    private func read(
        _ bytes: [UInt8], chunk: Int = 4096, modules: RDBFile.Modules = .skipped, finishes: Bool = true
    ) -> (items: [Item], error: RDBFileError?) {
        let file = RDBFile(modules: modules)
        var items: [Item] = [], at = 0
        do throws(RDBFileError) {
            while true {
                while let event = try file.next() { items.append(item(event)) }
                if at == bytes.count { break }
                let count = min(chunk, bytes.count - at)
                bytes.withView { file.feed($0[at..<at + count]) }
                at += count
            }
            if finishes {
                file.finish()
                while let event = try file.next() { items.append(item(event)) }
            }
        } catch {
            return (items, error)
        }
        return (items, nil)
    }

    // MARK: Everything there is

    /// A value of each type, without its key.
    private var values: [(type: UInt8, encoding: [UInt8])] {
        let list = RDBBytes.string(RDBBytes.ziplist([[1, 97], [0xf2]]))
        let pack = RDBBytes.string(RDBBytes.listpack(["a", "1", "0"]))
        let id = [UInt8](repeating: 7, count: 16), time = RDBBytes.little(5, 8)
        let node = RDBBytes.string(id) + pack
        let pending = [1] + id + time + [1], name = RDBBytes.string("name")
        func stream(_ facts: Int, _ group: Int, _ times: Int) -> [UInt8] {
            var bytes: [UInt8] = [2] + node + node + [UInt8](repeating: 9, count: facts) + [2]
            for _ in 0..<2 {
                bytes += name + [UInt8](repeating: 3, count: group) + pending + [1] + name
                for _ in 0..<times { bytes += time }
                bytes += [1] + id
            }
            return bytes
        }
        return [
            (RDBType.string, RDBBytes.string("text")), (RDBType.string, [0]), (RDBType.string, [0xc0, 0xff]),
            (RDBType.string, [0xc1, 1, 2]), (RDBType.string, [0xc2, 1, 2, 3, 4]),
            (RDBType.string, [0xc3, 4, 3, 2, 97, 98, 99]),
            (RDBType.string, [0x81, 0, 0, 0, 0, 0, 0, 0, 1, 97]),
            (RDBType.string, RDBBytes.string([UInt8](repeating: 120, count: 20_000))),
            (RDBType.list, [0]), (RDBType.list, [3, 0xc0, 1, 1, 97, 0xc3, 2, 1, 0, 97]),
            (RDBType.set, [2, 1, 97, 1, 98]), (RDBType.sortedSetText, [2, 1, 97, 1, 53, 1, 98, 254]),
            (RDBType.hash, [2, 1, 97, 1, 98, 1, 99, 0xc0, 5]),
            (RDBType.sortedSet, [1, 1, 97] + RDBBytes.little(0, 8)),
            (RDBType.hashZipmap, RDBBytes.string([1, 1, 97, 1, 0, 98, 255])), (RDBType.listZiplist, list),
            (RDBType.setIntset, RDBBytes.string(RDBBytes.little(2, 4) + RDBBytes.little(1, 4) + [1, 0])),
            (RDBType.sortedSetZiplist, list), (RDBType.hashZiplist, list),
            (RDBType.listZiplists, [2] + list + list), (RDBType.stream1, stream(3, 2, 1)),
            (RDBType.hashListpack, pack), (RDBType.sortedSetListpack, pack),
            (RDBType.listQuicklist, [2, 1, 1, 97, 2] + pack), (RDBType.stream2, stream(8, 3, 1)),
            (RDBType.setListpack, pack), (RDBType.stream3, stream(8, 3, 2)), (RDBType.stream3, [0] + [0] * 9),
            (RDBType.hashMetadataEarly, [1, 0x40, 99, 1, 97, 1, 98]),
            (RDBType.hashListpackExpiringEarly, pack),
            (RDBType.hashMetadata, RDBBytes.little(77, 8) + [1, 1, 1, 97, 1, 98]),
            (RDBType.hashListpackExpiring, RDBBytes.little(77, 8) + pack),
        ]
    }

    /// The parts a module's data has: integers, a float, a double, a string, the end.
    private let parts: [UInt8] = [1, 0x40, 70, 2, 0x81] + [255] * 8 + [3, 1, 2, 3, 4, 4] + [9] * 8
        + [5, 3, 97, 98, 99, 0]
    /// The number of a module type "ReJSON-RL", version 3: six bits a character.
    private let json: [UInt8] = [0x81, 0x45, 0xe2, 0x52, 0x38, 0xdf, 0x91, 0x2c, 0x03]

    private var everything: (bytes: [UInt8], items: [Item]) {
        var bytes: [UInt8] = [], items: [Item] = [.version(12)]
        bytes += [250] + RDBBytes.string("redis-ver") + RDBBytes.string("7.4.0")
        bytes += [250] + RDBBytes.string("redis-bits") + [0xc0, 64]
        items += [.auxiliary("redis-ver", "7.4.0"), .auxiliary("redis-bits", "64")]
        bytes += [245] + RDBBytes.string("#!lua name=x") + [247] + json + [2, 2] + parts
        items += [.library("#!lua name=x"), .skipped("ReJSON-RL", nil)]
        bytes += [254, 3, 251, 0x40, 99, 2, 244, 5, 6, 7]
        items += [.database(3), .sizes(99, 2)]
        for (number, value) in values.enumerated() {
            let key = "key \(number)"
            var expiry: Int64?
            if number % 3 == 1 {
                bytes += [252] + RDBBytes.little(4_102_444_800_123, 8)
                expiry = 4_102_444_800_123
            }
            if number % 3 == 2 {
                bytes += [253] + RDBBytes.little(-2, 4) + [249, 77, 248, 0x41, 0]
                expiry = -2000
            }
            bytes += [value.type] + RDBBytes.string(key) + value.encoding
            items.append(.entry(3, RDBBytes.text(key), type: value.type, value.encoding, expiry: expiry))
        }
        bytes += [252] + RDBBytes.little(1, 8) + [RDBType.module2, 1, 109] + json + parts
        bytes += [0, 0xc0, 5, 1, 97]
        items += [.skipped("ReJSON-RL", [109]), .entry(3, [53], type: 0, [1, 97], expiry: nil), .end]
        return (RDBBytes.file(bytes, version: 12), items)
    }

    @Test(arguments: [1, 7, 4096, 1 << 20]) func eachItemIsReadHoweverItComes(chunk: Int) {
        let (bytes, wanted) = everything
        let (items, error) = read(bytes, chunk: chunk)
        #expect(error == nil)
        #expect(items == wanted)
    }

    /// Until the last byte more is wanted; if none comes the file is cut off there.
    @Test func aFileCutAnywhereIsToldFromOneThatIsWrong() {
        let (bytes, wanted) = everything
        for cut in 0..<bytes.count where cut < 300 || cut > bytes.count - 2000 || cut % 37 == 0 {
            let piece = Array(bytes.prefix(cut))
            let waiting = read(piece, finishes: false)
            #expect(waiting.error == nil)
            #expect(waiting.items == Array(wanted.prefix(waiting.items.count)))
            #expect(waiting.items.last != .end)
            #expect(read(piece).error == RDBFileError(reason: .cutOff, offset: cut))
        }
    }

    @Test func aChangedByteIsFound() {
        let (bytes, _) = everything
        for place in bytes.indices where place < 600 || place > bytes.count - 2500 || place % 61 == 0 {
            for change in [1, 0x80, 0xff] as [UInt8] {
                var damaged = bytes
                damaged[place] ^= change
                let (items, error) = read(damaged)
                // A version before 5 has no checksum, and one with another digit is still one.
                if place == 7, change == 1 { continue }
                #expect(error != nil, "byte \(place)")
                #expect(items.last != .end)
            }
        }
    }

    // MARK: Versions and checksums

    @Test func versionsAndSignatures() {
        for version in 1...12 {
            let bytes = RDBBytes.file([0, 1, 97, 1, 98], version: version)
            #expect(bytes.count == 9 + 5 + (version < 5 ? 1 : 9))
            let (items, error) = read(bytes)
            #expect(error == nil && items.first == .version(version) && items.last == .end)
        }
        func reason(_ text: String) -> RDBFileError.Reason? { read(RDBBytes.text(text)).error?.reason }
        #expect(reason("REDIS0013") == .unknownVersion(13))
        #expect(reason("REDIS0000") == .unknownVersion(0))
        #expect(reason("REDIS00x3") == .notAnRDBFile)
        #expect(reason("VALKEY080") == .notAnRDBFile)
        #expect(reason("*") == .notAnRDBFile)
        #expect(reason("REDI") == .cutOff)
        let text = read(RDBBytes.text("REDIS0080")).error?.text
        #expect(text == "RDB file at byte 0: RDB version 80: versions 1 to 12 are read")
    }

    @Test func theChecksumIsCompared() throws {
        var bytes = RDBBytes.file([0, 1, 97, 1, 98])
        let stored = bytes.withView { ($0.base + $0.count - 8).loadUnaligned(as: UInt64.self) }
        bytes[13] = 99
        guard case .wrongChecksum(stored, let computed) = try #require(read(bytes).error).reason
        else { return #expect(Bool(false), "a changed value was not found") }
        #expect(computed != stored)
        let unsealed = Array(bytes.dropLast(8)) + [UInt8](repeating: 0, count: 8)
        #expect(read(unsealed).error == nil, "0: none was taken")
        let trusting = RDBFile(checks: false)
        bytes.withView { trusting.feed($0) }
        while let event = try trusting.next() { if case .end = event { return } }
        #expect(Bool(false), "no end")
    }

    @Test func whatComesBehindTheEndIsGiven() throws {
        let tail = RDBBytes.text("*1\r\n$4\r\nPING\r\n")
        let bytes = RDBBytes.file([]) + tail
        for chunk in [1, 4096] {
            let file = RDBFile()
            var at = 0, hasEnded = false
            while at < bytes.count {
                let count = min(chunk, bytes.count - at)
                bytes.withView { file.feed($0[at..<at + count]) }
                at += count
                while let event = try file.next() { if case .end = event { hasEnded = true } }
            }
            #expect(hasEnded)
            #expect(file.rest.array == tail)
            #expect(file.offset == bytes.count - tail.count)
        }
    }

    // MARK: Refusals

    @Test func refusalsSayWhatAndWhere() {
        func error(_ items: [UInt8], _ modules: RDBFile.Modules = .skipped) -> RDBFileError? {
            read(RDBBytes.file(items), modules: modules).error
        }
        func at(_ offset: Int, _ reason: RDBFileError.Reason) -> RDBFileError {
            RDBFileError(reason: reason, offset: offset)
        }
        let module2: [UInt8] = [7, 1, 97] + json + parts
        #expect(error(module2, .refused) == at(9, .module("ReJSON-RL")))
        #expect(error([6, 1, 97] + json + parts) == at(9, .module("ReJSON-RL")))
        #expect(error([246, 1, 97]) == at(9, .earlyFunction))
        for code in [8, 26, 200, 243] as [UInt8] { #expect(error([code, 0]) == at(9, .unknownCode(code))) }
        #expect(error([0, 1, 97, 0xc4]) == at(12, .badString))
        #expect(error([0, 1, 97, 0x82]) == at(12, .badNumber))
        #expect(error([2, 1, 97, 0xc0, 1]) == at(12, .badNumber))
        #expect(error([7, 1, 97] + json + [6]) == at(21, .badModuleData))
        #expect(error([0, 0xc3, 2, 9, 0, 97, 0]) == at(10, .badString), "a key that is not compressed well")
        #expect(error([254, 0x81] + [255] * 8) == at(9, .badNumber))
        #expect(error([0, 1, 97, 0x81, 0, 0, 1, 0, 0, 0, 0, 0]) == at(12, .stringTooLong))
        let text = error(module2, .refused)?.text
        let wanted = "a value of the module type 'ReJSON-RL', and modules are not supported"
        #expect(text == "RDB file at byte 9: \(wanted)")
    }

    /// A length of gigabytes takes no memory until the bytes come; a value that is over gives it back.
    @Test func memoryIsTakenForWhatHasArrivedOnly() throws {
        let file = RDBFile()
        func feed(_ bytes: [UInt8]) { bytes.withView { file.feed($0) } }
        feed(RDBBytes.text("REDIS0010") + [0, 1, 97, 0x80, 0xf0, 0, 0, 0])
        guard case .version = try file.next(), try file.next() == nil else { return #expect(Bool(false)) }
        #expect(file.room(1).count < 8192)
        for _ in 0..<100 {
            feed([UInt8](repeating: 1, count: 1000))
            #expect(try file.next() == nil)
        }
        #expect(file.room(1).count < 220_000)

        let long = RDBFile(valueBytesMax: 100 << 20)
        var bytes = RDBBytes.text("REDIS0010") + [0, 1, 97] + RDBBytes.length(40 << 20)
        var entries = 0
        for piece in 0..<100 {
            if piece > 0 { bytes = [UInt8](repeating: 0, count: 1 << 20) }
            if piece > 41 { bytes = [UInt8](repeating: 0, count: 0) + [0, 1, 98, 0] }
            if piece == 41 { bytes = [0, 1, 98, 0] }
            bytes.withView { long.feed($0) }
            while let event = try long.next() { if case .entry = event { entries += 1 } }
        }
        #expect(entries == 60)
        #expect(long.room(1 << 16).count < 5 << 20)

        let short = RDBFile(valueBytesMax: 1000)
        (RDBBytes.text("REDIS0010") + [0, 1, 97] + RDBBytes.length(1000)).withView { short.feed($0) }
        _ = try short.next()
        #expect(throws: RDBFileError(reason: .valueTooLong, offset: 9)) { try short.next() }
        #expect(throws: RDBFileError(reason: .valueTooLong, offset: 9)) { try short.next() }
    }

    // MARK: Files of Redis

    private func restored(_ items: [Item], _ bench: StoreBench) throws -> [String: [UInt8]] {
        var dumps: [String: [UInt8]] = [:]
        for case .entry(_, let key, let type, let encoding, _) in items {
            try bench.with([String(decoding: key, as: UTF8.self)]) { keys in
                let result = try encoding.withView { try keys.restore(0, type: type, $0, expiry: .none) }
                #expect(result == .done)
                dumps[String(decoding: key, as: UTF8.self)] = try keys.dump(0)
            }
        }
        return dumps
    }

    /// Each key of redis-server 7.0's file has the bytes its DUMP has.
    @Test(arguments: [1, 7, 4096]) func aFileOfRedis7IsReadAsItsDumps(chunk: Int) throws {
        let (items, error) = read(try RDBBytes.fixture("redis-7.0.rdb"), chunk: chunk)
        #expect(error == nil)
        var found: [String: String] = [:]
        func hex(_ bytes: some Sequence<UInt8>) -> String {
            bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        for case .entry(let database, let key, let type, let encoding, let expiry) in items {
            found["\(database) \(hex(key)) \(expiry ?? -1)"] = hex([type] + encoding)
        }
        let dumps = String(decoding: try RDBBytes.fixture("redis-7.0.dumps"), as: UTF8.self)
        var wanted: [String: String] = [:]
        for line in dumps.split(separator: "\n") {
            let words = line.split(separator: " ")
            wanted[words[0..<3].joined(separator: " ")] = String(words[3].dropLast(20))
        }
        #expect(found.count == 33)
        #expect(found == wanted)
        #expect(items.contains(.auxiliary("redis-ver", "7.0.15")))
        #expect(items.contains(.sizes(32, 1)))
        #expect(items.contains { if case .library(let text) = $0 { text.hasPrefix("#!lua") } else { false } })
        if chunk == 4096 {
            let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
            #expect(try restored(items, bench).count == 33)
            // Compressed in the file, and kept as the listpack it is.
            try bench.with(["hash:lzf"]) { keys in
                let hash = try keys.hash(0), wanted = "a text that repeats itself, a text that "
                #expect(try hash.count() == 20)
                #expect(try hash.value(ByteView("field:00007"))?.array.text == wanted)
                #expect(try hash.value(ByteView("field:00019"))?.array.text == wanted)
            }
        }
    }

    /// The file of Redis 2.6 with all encodings of its time, and small ones of 2.4 to 6.2.
    @Test func filesOfOldRedisAreRead() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let (items, error) = read(try RDBBytes.fixture("encodings.rdb"), chunk: 7)
        #expect(error == nil)
        let dumps = try restored(items, bench)
        #expect(dumps.keys.sorted() == [
            "compressible", "hash", "hash_zipped", "list", "list_zipped", "number", "set", "set_zipped_1",
            "set_zipped_2", "set_zipped_3", "string", "zset", "zset_zipped",
        ])
        try bench.with(["list_zipped", "hash_zipped", "zset_zipped", "zset", "number", "list"]) { keys in
            var elements: [String] = []
            try keys.list(0).forEach(from: 0, count: 8) { elements.append($0.array.text) }
            #expect(elements == ["1", "2", "3", "a", "b", "c", "100000", "6000000000"])
            var fields: [String] = []
            try keys.hash(1).forEach { field, value in
                fields.append(field.array.text + value.array.text)
                return true
            }
            #expect(fields == ["a1", "b2", "c3"])
            #expect(try keys.sortedSet(2).score(ByteView("c")) == 3)
            #expect(try keys.sortedSet(3).score(ByteView("bbbb")) == 5_000_000_000)
            #expect(try keys.string(4)?.text == "10")
            #expect(try keys.list(5).count() == 24)
        }
        let small: [(String, Int, [String: [UInt8]])] = [
            ("hash-zipmap.rdb", 3, ["hash": [16, 23, 23, 0, 0, 0, 4, 0]]),
            ("hash-ziplist.rdb", 9, ["hash": [16, 23, 23, 0, 0, 0, 4, 0]]),
            ("list-quicklist.rdb", 8, ["list": [18, 1, 2, 9, 9, 0, 0, 0, 1, 0, 7], "x": [0, 0xc0, 7]]),
            ("zset-ziplist.rdb", 10, ["zset": [17, 21, 21, 0, 0, 0, 4, 0]]),
        ]
        for (name, version, wanted) in small {
            let (items, error) = read(try RDBBytes.fixture(name))
            #expect(error == nil && items.first == .version(version), "\(name)")
            let dumps = try restored(items, bench)
            #expect(dumps.count == wanted.count)
            for (key, begin) in wanted { #expect(dumps[key]?.starts(with: begin) == true, "\(name) \(key)") }
        }
    }

    @Test func damagedFilesOfRedisAreReadAsFarAsTheyGo() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        func results(_ name: String) throws -> [StagedKeys.Restored] {
            let (items, error) = read(try RDBBytes.fixture(name))
            #expect(error == nil)
            var found: [StagedKeys.Restored] = []
            for case .entry(_, let key, let type, let encoding, _) in items {
                try bench.with([String(decoding: key, as: UTF8.self)]) { keys in
                    found.append(try encoding.withView { try keys.restore(0, type: type, $0, expiry: .none) })
                }
            }
            return found
        }
        // Empty collections, which Redis passes over.
        #expect(try results("corrupt_empty_keys.rdb") == [.empty] * 9)
        let broken = try results("corrupt_ziplist.rdb")
        #expect(broken.filter { $0 == .malformed }.count == 1)
        #expect(broken.filter { $0 == .done }.count == broken.count - 1)
        #expect(read(try RDBBytes.fixture("scriptbackup.rdb")).items.contains(
            .auxiliary("lua", "return redis.call('set', 'foo', 'bar')")))
    }
}

extension [UInt8] {
    fileprivate var text: String { String(decoding: self, as: UTF8.self) }
}

extension Array {
    fileprivate static func * (elements: [Element], count: Int) -> [Element] {
        (0..<count).flatMap { _ in elements }
    }
}

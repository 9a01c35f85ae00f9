import Primitives
import RESPWire
import TieredStore

/// DEBUG DIGEST and DEBUG DIGEST-VALUE: the same for equal datasets, and the same as Redis's.
///
/// Method: values are read with commands that any client could ask. The order of a hash, a set or a database
/// does not count, that of a list, a stream does.
/// Source: Redis 7.0 debug.c, computeDatasetDigest and xorObjectDigest.
struct DatasetDigest {
    private var bytes = [UInt8](repeating: 0, count: 20)

    var text: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// Adds something whose place does not count.
    private mutating func toss(_ data: [UInt8]) {
        for (i, byte) in Digests.sha1Bytes(data).enumerated() { bytes[i] ^= byte }
    }

    private mutating func toss(_ other: DatasetDigest) { toss(other.bytes) }

    /// Adds something whose place counts.
    private mutating func mix(_ data: [UInt8]) {
        toss(data)
        bytes = Digests.sha1Bytes(bytes)
    }

    private mutating func mix(number: Int) { mix([0, 0, 0, UInt8(number)]) }

    // MARK: Values

    /// A key's value and whether it expires; nothing when the key is absent.
    private mutating func add(_ call: Call, _ key: [UInt8], _ type: ValueType) {
        func ask(_ words: String...) -> Answer {
            call.front.ask(call, [words[0], ""] + words.dropFirst(), key)
        }
        switch type {
        case .string:
            mix(number: 0)
            mix(ask("get").text)
        case .list:
            mix(number: 1)
            for element in ask("lrange", "0", "-1").items { mix(element.text) }
        case .set:
            mix(number: 2)
            for member in ask("smembers").items { toss(member.text) }
        case .sortedSet:
            mix(number: 3)
            tossPairs(ask("zrange", "0", "-1", "withscores").items)
        case .hash:
            mix(number: 4)
            tossPairs(ask("hgetall").items)
        case .stream:
            mix(number: 6)
            for entry in ask("xrange", "-", "+").items {
                mix(entry.items[0].text.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: ".") : $0 })
                for word in entry.items[1].items { mix(word.text) }
            }
        }
        if ask("pexpiretime").text != Array("-1".utf8) { toss(Array("!!expire!!".utf8)) }
    }

    private mutating func tossPairs(_ words: [Answer]) {
        for i in stride(from: 0, to: words.count, by: 2) {
            var pair = DatasetDigest()
            pair.mix(words[i].text)
            pair.mix(words[i + 1].text)
            toss(pair)
        }
    }

    /// The digest of key `i` of the running command; zeros if it is absent.
    static func value(_ call: Call, _ key: ByteView, _ type: ValueType?) -> DatasetDigest {
        var digest = DatasetDigest()
        if let type { digest.add(call, key.array, type) }
        return digest
    }

    /// The digest of everything. The world is stopped.
    static func everything(_ call: Call) -> DatasetDigest {
        var whole = DatasetDigest()
        for database in 0..<call.server.store.options.databases {
            var keys: [(key: [UInt8], type: ValueType)] = []
            call.worker.forEachKey(database: database) { keys.append(($0.array, $1)) }
            if keys.isEmpty { continue }
            whole.mix(number: database)
            let before = call.session.database
            call.session.database = database
            for (key, type) in keys {
                var digest = DatasetDigest()
                digest.mix(key)
                digest.add(call, key, type)
                whole.toss(digest)
                call.keys.forgetKeys()
            }
            call.session.database = before
        }
        return whole
    }
}

/// A reply in RESP2, read into memory.
private struct Answer {
    var text: [UInt8] = []
    var items: [Answer] = []

    init(_ reply: ByteView, _ at: inout Int) {
        var end = at
        while reply[end] != 13 { end += 1 }
        let kind = reply[at], line = reply[at + 1..<end]
        at = end + 2
        let count = Int(Decimal.int64(line) ?? 0)
        switch kind {
        case UInt8(ascii: "$") where count >= 0:
            text = reply[at..<at + count].array
            at += count + 2
        case UInt8(ascii: "*"): for _ in 0..<max(0, count) { items.append(Answer(reply, &at)) }
        default: text = line.array
        }
    }
}

extension Front {
    /// What a command that reads one key answers, asked within the command that runs. Cold values are read at
    /// once.
    fileprivate func ask(_ outer: Call, _ words: [String], _ key: [UInt8]) -> Answer {
        let command = call.command, arguments = call.arguments, reply = call.reply, session = call.session
        let wasInside = call.isInside, noTouch = session.noTouch
        let request = RequestList(), answer = ReplyBuffer()
        let texts = words.map { Array($0.utf8) }
        request.append(count: words.count) { i in (i == 1 ? key : texts[i]).withView { $0 } }
        call.isInside = true
        session.noTouch = true
        defer {
            call.command = command
            call.arguments = arguments
            call.reply = reply
            call.isInside = wasInside
            session.noTouch = noTouch
        }
        guard let row = texts[0].withView({ table.find($0) })?.takeUnretainedValue() else {
            preconditionFailure("\(words[0]) is a command")
        }
        call.reply = ReplyWriter(answer, version: .resp2)
        var staged: [StagedRecord] = []
        defer { for record in staged { worker.unstage(record) } }
        while runInside(row, request[0], for: session) == .notReady {
            guard fetchWindow(&staged) else { return Answer() }
        }
        var at = 0
        return Answer(answer.view, &at)
    }
}

extension Answer {
    /// Of a value that cannot be read.
    fileprivate init() {}
}

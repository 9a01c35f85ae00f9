import Primitives
import RESPFront
import RESPWire
import TieredStore

/// One client: sends requests on its own keys in pieces of any size, reads replies when it likes,
/// and compares each with its model.
final class SimulatedClient {
    /// A request on its way: how long the model says its reply is, and whether it may fail instead.
    private struct Expected {
        var words: [[UInt8]]
    }

    let session: Session
    private let prefix: String
    private var model = Model()
    private var outgoing: [UInt8] = []
    private var sent = 0
    private var expected = RingQueue<Expected>()
    private var received = ReplyParser()
    private let keys: UInt64
    private let sizeLimit: UInt64
    private(set) var answered = 0
    private(set) var refused = 0

    init(session: Session, number: Int, keys: UInt64, sizeLimit: UInt64) {
        self.session = session
        prefix = "c\(number):"
        self.keys = keys
        self.sizeLimit = sizeLimit
    }

    var isQuiet: Bool { expected.isEmpty && sent == outgoing.count }

    // MARK: Requests

    func issue(_ random: inout Random, now: Int64) {
        if sent == outgoing.count {
            outgoing.removeAll(keepingCapacity: true)
            sent = 0
        }
        let words = request(&random, now)
        RequestWriter.write(words, to: &outgoing)
        expected.append(Expected(words: words))
    }

    private func key(_ random: inout Random) -> [UInt8] {
        var name = prefix + String(random.below(keys))
        // Now and then a key longer than a byte can tell.
        if name.utf8.last == UInt8(ascii: "7") { name += String(repeating: "k", count: 300) }
        return Array(name.utf8)
    }

    private func value(_ random: inout Random) -> [UInt8] {
        let size = random.below(8) == 0 ? random.below(sizeLimit) : random.below(1200)
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: Int(size))
        // Half of the values do not compress.
        if random.below(2) == 0 {
            for i in bytes.indices { bytes[i] = UInt8(truncatingIfNeeded: random.next()) }
        }
        return bytes
    }

    private func request(_ random: inout Random, _ now: Int64) -> [[UInt8]] {
        func word(_ text: String) -> [UInt8] { Array(text.utf8) }
        switch random.below(100) {
        case 0..<35: return [word("GET"), key(&random)]
        case 35..<62: return [word("SET"), key(&random), value(&random)]
        case 62..<66:
            let time = now + 1 + Int64(random.below(2000))
            return [word("SET"), key(&random), value(&random), word("PXAT"), word(String(time))]
        case 66..<71: return [word("DEL"), key(&random), key(&random)]
        case 71..<76: return [word("APPEND"), key(&random), value(&random)]
        case 76..<79: return [word("STRLEN"), key(&random)]
        case 79..<82: return [word("EXISTS"), key(&random)]
        case 82..<86: return [word("MGET")] + (0..<(1 + random.below(8))).map { _ in key(&random) }
        case 86..<89: return [word("RENAME"), key(&random), key(&random)]
        case 89..<92:
            return [word("SETRANGE"), key(&random), word(String(random.below(3000))), value(&random)]
        case 92..<98: return [word("TIER"), word("DEMOTE"), key(&random), key(&random)]
        case 98: return [word("TIER"), word("PROMOTE"), key(&random)]
        default: return [word("TIER"), word("COMPACT")]
        }
    }

    /// Sends a piece of what is to be sent.
    func transmit(_ front: Front, _ random: inout Random) {
        guard sent < outgoing.count, front.wantsInput(session) else { return }
        let count = min(outgoing.count - sent, Int(1 + random.below(random.below(4) == 0 ? 7 : 20000)))
        outgoing.withUnsafeMutableBytes { bytes in
            front.receive(session, bytes.baseAddress! + sent, count)
        }
        sent += count
    }

    // MARK: Replies

    /// Takes replies and checks them; the description of the first wrong one, or nil.
    func take(_ front: Front, faults: Faults, now: Int64) -> String? {
        guard !session.output.isEmpty else { return nil }
        received.append(session.output.view)
        session.output.removeAll()
        front.outputDrained(session)
        do throws(ReplyParser.Failure) {
            while let reply = try received.next() {
                guard let request = expected.popFirst() else { return "a reply nobody asked for" }
                answered += 1
                if let problem = check(reply, request, faults, now) { return problem }
            }
        } catch { return "the reply is not RESP: \(error)" }
        return nil
    }

    private func check(_ reply: Reply, _ request: Expected, _ faults: Faults, _ now: Int64) -> String? {
        if case .error(let text) = reply {
            let text = String(decoding: text, as: UTF8.self)
            if text.hasPrefix("IOERR"), faults.mayFailReads {
                refused += 1
                return nil
            }
            if text.hasPrefix("OOM") {
                refused += 1
                return nil
            }
        }
        guard let wanted = model.reply(to: request.words, now: now) else { return nil }
        var parser = ReplyParser()
        parser.append(wanted)
        guard let expectedReply = try? parser.next(), expectedReply == reply else {
            let shown = request.words.map { String(decoding: $0.prefix(40), as: UTF8.self) }
            return "\(shown.joined(separator: " ")): got \(brief(reply)), "
                + "wanted \(String(decoding: wanted.prefix(60), as: UTF8.self))"
        }
        return nil
    }

    private func brief(_ reply: Reply) -> String { String("\(reply)".prefix(120)) }
}

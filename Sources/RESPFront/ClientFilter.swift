import Primitives
import RESPWire
import TieredStore

/// Which clients CLIENT LIST shows and CLIENT KILL ends.
///
///     ID id …   TYPE type   USER name   ADDR ip:port   LADDR ip:port   MAXAGE seconds   SKIPME yes|no
///
/// Redis 7.0 knows one option with CLIENT LIST, one ID with CLIENT KILL; several, MAXAGE and the first five
/// after NOT- are of newer versions (Redis 7.4, Valkey 9). All must hold.
struct ClientFilter {
    private var conditions: [(Session) -> Bool] = []
    private(set) var skipsCaller: Bool
    /// The IDs, if they are all that was asked for: CLIENT LIST answers in their order.
    private(set) var onlyIDs: [Int64]?

    private static let types = ["normal", "master", "replica", "slave", "pubsub"]
    private static let options: Set<String> = [
        "id", "type", "user", "addr", "laddr", "maxage", "skipme", "not-id", "not-type", "not-user",
        "not-addr", "not-laddr",
    ]

    /// The words from the third on. `listing`: CLIENT LIST's, whose errors are its own.
    init(_ call: Call, listing: Bool) throws(CommandError) {
        skipsCaller = !listing
        var i = 2, count = 0
        while i < call.wordCount {
            guard i + 1 < call.wordCount else { throw .syntax }
            var option = call.option(i)
            guard ClientFilter.options.contains(option) else { throw .syntax }
            let negates = option.hasPrefix("not-")
            if negates { option.removeFirst(4) }
            i += 1
            if option == "id" {
                let ids = try ClientFilter.ids(call, &i, listing)
                onlyIDs = count == 0 && !negates ? ids : nil
                conditions.append { ids.contains($0.id) != negates }
            } else {
                try add(option, call, i, negates)
                onlyIDs = nil
                i += 1
            }
            count += 1
        }
    }

    /// The IDs from word `i` on, up to the next option.
    private static func ids(_ call: Call, _ i: inout Int, _ listing: Bool) throws(CommandError) -> [Int64] {
        var ids: [Int64] = []
        while i < call.wordCount {
            if !ids.isEmpty, options.contains(call.option(i)) { break }
            guard let id = Decimal.int64(call.arguments[i]), listing || id > 0 else {
                if listing { throw .message("ERR Invalid client ID") }
                if ids.isEmpty { throw .message("ERR client-id should be greater than 0") }
                break
            }
            ids.append(id)
            i += 1
        }
        return ids
    }

    private mutating func add(
        _ option: String, _ call: Call, _ i: Int, _ negates: Bool
    ) throws(CommandError) {
        let value = call.word(i)
        switch option {
        case "type":
            let wanted = call.option(i) == "slave" ? "replica" : call.option(i)
            guard ClientFilter.types.contains(wanted) else {
                throw .message("ERR Unknown client type '\(value)'")
            }
            conditions.append { (($0.isSubscriber ? "pubsub" : "normal") == wanted) != negates }
        case "addr": conditions.append { ($0.peerAddress == value) != negates }
        case "laddr": conditions.append { ($0.localAddress == value) != negates }
        case "user":
            guard value == "default" else { throw .message("ERR No such user '\(value)'") }
            conditions.append { $0.isAuthenticated != negates }
        case "maxage":
            guard let seconds = Int64(value) else {
                throw .message("ERR maxage is not an integer or out of range")
            }
            guard seconds > 0 else { throw .message("ERR maxage should be greater than 0") }
            let now = call.now
            conditions.append { (now - $0.createdAt) / 1000 >= seconds }
        default:
            guard ["yes", "no"].contains(value.lowercased()) else { throw .syntax }
            skipsCaller = value.lowercased() == "yes"
        }
    }

    /// Those of `sessions` for which all holds, but for the caller if it is to be spared.
    func matching(_ sessions: [Session], caller: Session) -> [Session] {
        sessions.filter { session in
            if skipsCaller, session === caller { return false }
            return conditions.allSatisfy { $0(session) }
        }
    }
}

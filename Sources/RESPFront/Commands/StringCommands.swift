import Primitives
import RESPWire
import TieredStore

/// GET, SET and the rest of the string family.
enum StringCommands {
    static func rows() -> [Command] {
        [
            Command(
                "get", 2, keys: .first, needs: .value, [.readonly, .fast], group: "string",
                since: "1.0.0", "Returns the string value of a key.", syntax: "key", get),
            Command(
                "set", -3, keys: .first, needs: .nothing, [.write, .growsMemory], group: "string",
                since: "1.0.0", "Sets the string value of a key, whatever it held.",
                syntax: "key value", set),
        ]
    }

    /// GET key → bulk, or null if absent. Errors: WRONGTYPE.
    static func get(_ call: Call) throws(CommandError) {
        guard let value = try call.keys.string(0) else { return call.reply.null() }
        call.reply.bulk(value)
    }

    static func set(_ call: Call) throws(CommandError) {
        call.keys.setString(0, call.arguments[2])
        call.reply.ok()
    }
}

import Primitives
import RESPWire
import TieredStore

enum TierCommands {
    static func rows() -> [Command] { [] }
}

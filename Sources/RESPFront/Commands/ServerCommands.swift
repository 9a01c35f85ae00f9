import Primitives
import RESPWire
import TieredStore

enum ServerCommands {
    static func rows() -> [Command] { [] }
}

import Primitives
import RESPWire
import TieredStore

enum GenericCommands {
    static func rows() -> [Command] { [] }
}

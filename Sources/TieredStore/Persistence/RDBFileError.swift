/// Why an RDB file cannot be read, and where.
public struct RDBFileError: Error, Equatable, Sendable {
    public enum Reason: Equatable, Sendable {
        /// It does not begin with REDIS and four digits.
        case notAnRDBFile
        case unknownVersion(Int)
        /// The input ended before the file did.
        case cutOff
        /// Neither an opcode nor a type of value.
        case unknownCode(UInt8)
        /// A number, length or count that cannot be.
        case badNumber
        /// A compressed string that does not give what it says.
        case badString
        case stringTooLong
        /// A value longer than the reader was told to take.
        case valueTooLong
        /// A value of this module's.
        case module(String)
        case badModuleData
        /// A library of functions of a release candidate of Redis 7.0.
        case earlyFunction
        case wrongChecksum(stored: UInt64, computed: UInt64)
    }

    public let reason: Reason
    /// Bytes of the file before what is wrong, or before the item it is in.
    public let offset: Int

    public var text: String {
        let what =
            switch reason {
            case .notAnRDBFile: "not an RDB file"
            case .unknownVersion(let version):
                "RDB version \(version): versions 1 to \(RDBFile.versionMax) are read"
            case .cutOff: "the file is cut off"
            case .unknownCode(let code): "type \(code) is not known"
            case .badNumber: "a length or number that cannot be"
            case .badString: "a string that cannot be decoded"
            case .stringTooLong: "a string of \(RDBReader.stringBytesMax) bytes or more"
            case .valueTooLong: "a value that is too long"
            case .module(let name): "a value of the module type '\(name)', and modules are not supported"
            case .badModuleData: "data of a module that cannot be told apart"
            case .earlyFunction: "a function library in the format of a Redis 7.0 release candidate"
            case .wrongChecksum(let stored, let computed):
                "the checksum is \(String(stored, radix: 16)) and should be \(String(computed, radix: 16))"
            }
        return "RDB file at byte \(offset): \(what)"
    }
}

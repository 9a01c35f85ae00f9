/// What can go wrong in a command, by meaning; each front puts it into its own words.
public enum CommandError: Error, Equatable, Sendable {
    /// The key holds a value of another type.
    case wrongType
    /// Bytes that should have been a 64-bit integer.
    case notAnInteger
    /// Bytes that should have been a floating-point number.
    case notAFloat
    case incrementOverflows
    /// A float operation gave NaN or infinity.
    case notFinite
    case syntax
    case noSuchKey
    case outOfRange
    case stringTooLong
    /// An expiry that is not positive or overflows; the command's name belongs into the message.
    case invalidExpiry
    /// RAM and SSD are full, or the keys alone fill RAM, and the policy forbids eviction.
    case outOfMemory
    /// The value's record on the SSD fails its checksum or cannot be read.
    case unreadable
    /// The value's record has to be read before the command can run; never reaches a client.
    case notStaged
    /// The command runs again when writes on their way have ended; never reaches a client.
    case waitForWrites
    /// The command runs again when there is RAM for it; never reaches a client.
    case waitForMemory
    /// The command runs again when a save has ended; never reaches a client.
    case waitForSave
    /// Nothing to give yet: the client waits until one of the command's keys changes or the time, Unix
    /// milliseconds, has come (0: for ever). Thrown by rows with `.blocking`, before anything is
    /// changed; never reaches a client.
    case block(until: Int64)
    /// A message in the front's own words, complete with its error code.
    case message(String)
}

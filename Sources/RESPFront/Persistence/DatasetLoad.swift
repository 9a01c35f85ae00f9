/// Something everything is being loaded from, a slice at a time.
public protocol DatasetLoad: AnyObject {
    /// Loads a slice more; true when all is loaded. No stripe is held, and no other loop changes the
    /// keyspace. Errors: what is read is damaged, or there is no room; what came before is loaded.
    func slice() throws(FileFailure) -> Bool
    /// Bytes done with, and in all.
    var progress: (done: Int, of: Int) { get }
    /// Unix milliseconds.
    var began: Int64 { get }
    var keysLoaded: Int { get }
    var keysExpired: Int { get }
}

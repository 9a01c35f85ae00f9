import Primitives
import RESPWire
import TieredStore

/// Commands of cluster mode, which is off: as in a Redis 7.0 with cluster-enabled no.
enum ClusterCommands {
    static func rows() -> [Command] {
        let connection = CommandFlags([.loading, .stale, .fast])
        return [
            row("asking", 1, [.fast], "3.0.0", "Lets the next command use a slot that is being imported."),
            row("readonly", 1, connection, "3.0.0", "Lets this connection read from a replica."),
            row("readwrite", 1, connection, "3.0.0", "Takes READONLY back."),
            Command.container(
                "cluster", group: "cluster", since: "3.0.0", "The cluster's nodes and slots.",
                looking + changing),
        ]
    }

    private static var looking: [Command] {
        let any = "nondeterministic_output"
        return [
            sub("info", 2, [.stale], "The state of the cluster.").tips(any),
            sub("myid", 2, [.stale], "The node's name."),
            sub("keyslot", 3, [.stale], "The slot of a key.", "key-name"),
            sub("links", 2, [.stale], since: "7.0.0", "Connections between nodes.").tips(any),
            sub("nodes", 2, [.stale], "The nodes.").tips(any),
            sub("shards", 2, [.stale], since: "7.0.0", "The slots and their nodes.").tips(any),
            sub("slots", 2, [.stale], "The slots and their nodes.").tips(any)
                .deprecated("7.0.0", by: "`CLUSTER SHARDS`"),
            sub("getkeysinslot", 4, [.stale], "Keys of a slot.", "slot count").tips(any),
            sub("countkeysinslot", 3, [.stale], "How many keys a slot has.", "slot"),
            sub("help", 2, [.loading, .stale], since: "5.0.0", "Lists the subcommands."),
            sub("count-failure-reports", 3, [.admin, .stale], "Reports of a failed node.", "node-id")
                .tips(any),
            sub("replicas", 3, [.admin, .stale], since: "5.0.0", "The replicas of a node.",
                "node-id").tips(any),
            sub("slaves", 3, [.admin, .stale], "The replicas of a node.", "node-id").tips(any)
                .deprecated("5.0.0", by: "`CLUSTER REPLICAS`"),
        ]
    }

    private static var changing: [Command] {
        let flags = CommandFlags([.admin, .stale, .noAsyncLoading])
        return [
            sub("forget", 3, flags, "Forgets a node.", "node-id"),
            sub("bumpepoch", 2, flags, "Advances the configuration epoch.").tips("nondeterministic_output"),
            sub("delslotsrange", -4, flags, since: "7.0.0", "Gives slots up.",
                "start-slot end-slot [start-slot end-slot ...]"),
            sub("delslots", -3, flags, "Gives slots up.", "slot [slot ...]"),
            sub("flushslots", 2, flags, "Gives all slots up."),
            sub("replicate", 3, flags, "Makes this node a replica.", "node-id"),
            sub("addslotsrange", -4, flags, since: "7.0.0", "Takes slots.",
                "start-slot end-slot [start-slot end-slot ...]"),
            sub("setslot", -4, flags, "Binds a slot to a node.",
                "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>"),
            sub("failover", -2, flags, "Makes a replica the master.", "[FORCE | TAKEOVER]"),
            sub("addslots", -3, flags, "Takes slots.", "slot [slot ...]"),
            sub("meet", -4, flags, "Introduces a node.", "ip port [cluster-bus-port]"),
            sub("saveconfig", 2, flags, "Saves the configuration."),
            sub("set-config-epoch", 3, flags, "Sets the configuration epoch.", "config-epoch"),
            sub("reset", -2, [.admin, .noScript, .stale], "Forgets the cluster.", "[HARD | SOFT]"),
        ]
    }

    private static func sub(
        _ name: String, _ arity: Int, _ flags: CommandFlags, since: String = "3.0.0", _ summary: String,
        _ syntax: String = ""
    ) -> Command {
        row("cluster|" + name, arity, flags, since, summary, syntax)
    }

    private static func row(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
        _ syntax: String = ""
    ) -> Command {
        Command(name, arity, flags, group: "cluster", since: since, summary, syntax: syntax) {
            _ throws(CommandError) in
            throw .message("ERR This instance has cluster support disabled")
        }
    }
}

"""What procd, jshn and the firewall make of the calls of an init script.

`Message` puts the calls of one message together, in the order in which they came, and refuses what the real functions
would take without a word and do something else with. `Procd` keeps the instances: it starts what is new, stops what
is gone, and restarts what differs in the way that procd looks at differences.
"""

import hashlib
from itertools import count


class Misuse(Exception):
    """A call that the real userland would misunderstand."""


# As (parameter, least, most number of values).
PARAMETERS = {
    "command": (1, 99), "file": (1, 99), "error": (1, 1), "respawn": (3, 3), "term_timeout": (1, 1),
    "stdout": (1, 1), "stderr": (1, 1), "env": (1, 99), "user": (1, 1), "group": (1, 1), "nice": (1, 1),
}
NUMBERS = {"respawn", "term_timeout", "nice"}
FLAGS = {"stdout", "stderr"}
# A change of one of these restarts an instance; `data` is not among them. In place of the names of the files it is
# their content that counts.
COMPARED = ["command", "file", "error", "respawn", "term_timeout", "env", "user", "group", "nice"]

RULE_OPTIONS = {"type", "src", "dest", "proto", "dest_port", "device", "direction", "family", "target"}


def need(condition, what):
    if not condition:
        raise Misuse(what)


class Message:
    """One message to procd."""

    def __init__(self):
        self.service, self.method, self.instances, self.triggers = None, None, {}, []
        self.at, self.instance = "outside", None
        self.document = []

    # ---- the service ----

    def procd_open_service(self, name, script):
        need(self.at == "outside", "procd_open_service inside a service")
        self.service, self.at = name, "service"
        need(script.startswith("/etc/init.d/"), f"the script is {script}")

    def triggers_begin(self):
        need(self.at == "service", f"the instances are not closed, but: {self.at}")
        self.at = "triggers"

    def procd_close_service(self, method=""):
        need(self.at == "triggers", f"procd_close_service in {self.at}")
        self.at, self.method = "closed", method or "set"

    # ---- an instance ----

    def procd_open_instance(self, name):
        need(self.at == "service", f"procd_open_instance in {self.at}")
        need(name and name not in self.instances, f"instance '{name}' has no name or is there twice")
        self.at, self.instance = "instance", {}
        self.instances[name] = self.instance

    def procd_set_param(self, name, *values):
        need(self.at == "instance", f"procd_set_param in {self.at}")
        need(name in PARAMETERS, f"procd_set_param does not know '{name}'")
        need(name not in self.instance, f"'{name}' is set twice")
        least, most = PARAMETERS[name]
        need(least <= len(values) <= most, f"'{name}' takes {least} to {most} values, not {values}")
        need(all(values), f"an empty value in '{name}': {values}")
        if name in NUMBERS:
            need(all(value.isdecimal() for value in values), f"'{name}' takes numbers, not {values}")
        if name in FLAGS:
            need(values[0] in "01", f"'{name}' takes 0 or 1, not {values}")
        if name in ("command", "file"):
            need(values[0].startswith("/"), f"{values[0]} is not a whole path")
        self.instance[name] = list(values)

    def procd_close_instance(self):
        need(self.at == "instance", f"procd_close_instance in {self.at}")
        need("command" in self.instance or "error" in self.instance, "an instance without a command")
        self.at = "service"

    # ---- its data: only between these two do the json functions write into this message ----

    def procd_open_data(self):
        need(self.at == "instance", f"procd_open_data in {self.at}")
        need("data" not in self.instance, "data twice")
        self.at, self.document = "data", [{}]

    def procd_close_data(self):
        need(self.at == "data", f"procd_close_data in {self.at}")
        need(len(self.document) == 1, "procd_close_data with an object or array left open")
        self.at, self.instance["data"] = "instance", self.document.pop()

    def add(self, name, value):
        need(self.at == "data", f"a json function in {self.at}: it would write into somebody else's message")
        inside = self.document[-1]
        if isinstance(inside, list):
            need(name == "", f"'{name}' in an array")
            inside.append(value)
        else:
            need(name and name not in inside, f"'{name}' is no name, or there twice")
            inside[name] = value

    def json_add_string(self, name, value):
        self.add(name, value)

    def json_add_object(self, name):
        self.add(name, {})
        self.descend()

    def json_add_array(self, name):
        self.add(name, [])
        self.descend()

    def descend(self):
        inside = self.document[-1]
        self.document.append(inside[-1] if isinstance(inside, list) else list(inside.values())[-1])

    def json_close_object(self):
        need(len(self.document) > 1 and isinstance(self.document.pop(), dict), "json_close_object without an object")

    def json_close_array(self):
        need(len(self.document) > 1 and isinstance(self.document.pop(), list), "json_close_array without an array")

    # ---- triggers: what happens, after how many milliseconds, what is run ----

    def procd_add_reload_trigger(self, *packages):
        need(self.at == "triggers" and packages, f"procd_add_reload_trigger {packages} in {self.at}")
        for package in packages:
            self.triggers.append(("config.change " + package, 1000, ["/etc/init.d/" + self.service, "reload"]))

    def procd_add_raw_trigger(self, event, delay, *command):
        need(self.at == "triggers", f"procd_add_raw_trigger in {self.at}")
        need(delay.isdecimal(), f"the delay is '{delay}'")
        need(1 <= len(command) <= 7 and command[0].startswith("/"), f"cannot be run: {command}")
        self.triggers.append((event, int(delay), list(command)))


class Procd:
    """The instances of one service, running or not."""

    def __init__(self, root):
        self.root = root
        self.pids = count(1001)
        self.instances = {}
        self.triggers = []
        self.log = []
        self.signals = []
        # How often the firewall was told to look at the data again.
        self.firewall_told = 0

    def handle(self, calls):
        """Takes what one run of the init script called."""
        message = Message()
        for name, *arguments in calls:
            if name == "logger":
                self.log.append(tuple(arguments))
            elif name == "procd_kill":
                self.kill(*arguments)
            elif name == "procd_send_signal":
                self.signal(*arguments)
            elif name in ("extra_command", "procd_running"):
                pass
            else:
                method = getattr(message, {"triggers": "triggers_begin"}.get(name, name), None)
                need(method, f"nobody here knows {name}")
                try:
                    method(*arguments)
                except TypeError as error:
                    raise Misuse(f"{name} {arguments}: {error}") from error
            if message.at == "closed":
                self.update(message)
                message = Message()
        need(message.at == "outside", f"a message that is never sent; it ends in: {message.at}")

    def update(self, message):
        need(message.service == "peervpn", f"service '{message.service}'")
        self.triggers = message.triggers
        for name, wanted in message.instances.items():
            self.tell_firewall(wanted)
            self.update_instance(name, wanted)
        if message.method == "set":
            for name in self.instances.keys() - message.instances.keys():
                self.tell_firewall(self.instances.pop(name))

    def update_instance(self, name, wanted):
        wanted["content"] = [self.digest(path) for path in wanted.get("file", [])]
        old = self.instances.get(name)
        running = old and old["pid"]
        if running and all(old.get(key) == wanted.get(key) for key in COMPARED + ["content"]):
            wanted["pid"] = old["pid"]
        else:
            wanted["pid"] = None if "error" in wanted else next(self.pids)
        # These are what an instance was first made with, whatever is said later.
        for key in FLAGS if old else ():
            wanted[key] = old.get(key)
        self.instances[name] = wanted

    def tell_firewall(self, instance):
        self.firewall_told += "firewall" in instance.get("data", {})

    def kill(self, service, instance=""):
        need(service == "peervpn", f"procd_kill {service}")
        for name in [instance] if instance else list(self.instances):
            if name in self.instances:
                self.tell_firewall(self.instances.pop(name))

    def signal(self, service, instance, signal):
        need(service == "peervpn", f"procd_send_signal {service}")
        for name in list(self.instances) if instance in ("", "*") else [instance]:
            need(name in self.instances, f"a signal to '{name}', which is not there")
            need(self.instances[name]["pid"], f"a signal to '{name}', which does not run: procd's group gets it")
            self.signals.append((self.instances[name]["pid"], signal))

    def digest(self, path):
        file = self.root / path.lstrip("/")
        return hashlib.md5(file.read_bytes()).hexdigest() if file.exists() else None

    # ---- what can be asked ----

    def pid(self, name):
        return self.instances[name]["pid"] if name in self.instances else None

    def running(self):
        return {name: instance["pid"] for name, instance in self.instances.items() if instance["pid"]}

    def error(self, name):
        return self.instances[name].get("error", [""])[0]

    def rules(self):
        """What `fw4` finds: its rules, by instance."""
        found = {}
        for name, instance in self.instances.items():
            rules = instance.get("data", {}).get("firewall", [])
            for rule in rules:
                need(set(rule) <= RULE_OPTIONS, f"the firewall does not know all of {rule}")
                need(rule["type"] == "rule" and rule.get("src") and rule.get("target"), f"not a rule: {rule}")
            if rules:
                found[name] = [{key: value for key, value in rule.items() if key != "type"} for rule in rules]
        return found

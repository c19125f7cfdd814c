"""``ro-crate-metadata.json``: the run as a Provenance Run Crate.

Profiles (w3id.org/ro/wfrun): process, workflow and provenance 0.5, on RO-Crate 1.1.  How the words fit:

    campaign as carried out   main workflow (``workflow.json``), instrument of the CreateAction of the run
    engine                    SoftwareApplication; what it did is an OrganizeAction
    iteration                 Action, over the ControlActions of its tasks
    task                      HowToStep of the workflow, and a ControlAction over its attempts
    attempt                   CreateAction: instrument is the tool, object what it used, result what it made
"""

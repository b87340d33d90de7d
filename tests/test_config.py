"""Stored configs, and what their settings decide."""

from tokenhmr_jax.config import Decides, settings_deciding, settings_of_today


def test_removed_settings_go_and_all_others_stay():
    """Also datasets whose names have dots, and empty groups."""
    data = {'mixture': {'amass/v1.0': 0.5, 'amass/v1.1': 0.5}, 'augment': {}}
    kept = {'task': 'regressor', 'data': data, 'model': {'backbone': {'width': 8}}}
    stored = kept | {'adversarial': {'weight': 0.0, 'mocap': ''}}
    stored |= {'model': {'backbone': {'width': 8, 'drop_groups': 1}}}
    today = settings_of_today(stored)
    assert today['data'] == data | {'num_workers': None} and today['model']['backbone'] == {
        'width': 8
    }
    assert 'adversarial' not in today
    assert settings_of_today(today) == today


def test_checkpoints_from_before_prompts_read_images_alone():
    today = settings_of_today({'task': 'regressor', 'model': {'head': 'tokens'}})
    assert today['model']['inputs'] == ['image'] and today['people']['batch_size'] == 0
    assert today['data']['augment'] == {'extreme_crop_needs': 'part'}
    prompted = {'task': 'regressor', 'model': {'inputs': ['prompts']}}
    assert settings_of_today(prompted)['model']['inputs'] == ['prompts']
    backbone = {'task': 'backbone', 'data': {'num_workers': None}}
    assert settings_of_today({'task': 'backbone'}) == backbone


def test_tokenizers_from_before_there_were_kinds_are_the_published_kind():
    stage1 = {'width': 8, 'dilation_rate': 3}
    published = stage1 | {'network': 'conv', 'heads': 8, 'levels': []}
    today = settings_of_today({'task': 'tokenizer', 'model': stage1})
    assert (today['model'], today['noise_degrees']) == (published, 0.0)
    stage2 = settings_of_today({'task': 'regressor', 'tokenizer': {'model': stage1}})
    assert stage2['tokenizer'] == {'model': published}


def test_the_nearest_group_decides():
    tree = {'model': {'width': 8, 'backbone': {'remat': '', 'heads': 2, 'scan': True}}, 'seed': 0}
    assert settings_deciding(tree, Decides.ARCHITECTURE).keys() == {
        'model.width', 'model.backbone.heads', 'model.backbone.scan'
    }  # fmt: skip
    assert settings_deciding(tree, Decides.UNSEEN) == {'model.backbone.heads': 2}
    assert settings_deciding(tree, Decides.COST).keys() == {
        'model.backbone.remat', 'model.backbone.scan'
    }  # fmt: skip
    assert settings_deciding(tree, Decides.RESULT) == {'seed': 0}
